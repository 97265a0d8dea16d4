//! The options that choose where the arithmetic runs; several commands share them.

use anyhow::Result;
use clap::{Args, ValueEnum};
use fer_train::training::device::{self, Compute, DeviceChoice};

/// `--device` as it is written on the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    /// The GPU if there is one, otherwise the CPU.
    Auto,
    /// A discrete or integrated GPU; software renderers are refused.
    Gpu,
    /// All CPU cores, each with its own part of the mini-batch.
    Cpu,
    /// burn's deprecated ndarray backend, to cross-check results.
    #[cfg(feature = "ndarray")]
    Ndarray,
}

/// Where to compute.
#[derive(Args)]
pub(crate) struct ComputeArgs {
    /// Where to compute.
    #[arg(long, value_enum, default_value = "auto")]
    device: Device,
    /// Number of CPU threads; 0 uses all cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

impl ComputeArgs {
    /// Opens the device.
    pub(crate) fn open(&self) -> Result<Compute> {
        let choice = match self.device {
            Device::Auto => DeviceChoice::Auto,
            Device::Gpu => DeviceChoice::Gpu,
            Device::Cpu => DeviceChoice::Cpu,
            #[cfg(feature = "ndarray")]
            Device::Ndarray => DeviceChoice::Ndarray,
        };
        device::open(choice, self.threads)
    }
}
