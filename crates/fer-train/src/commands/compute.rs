//! The options that choose where the arithmetic runs; several commands share them.

use anyhow::Result;
use clap::{Args, ValueEnum};
use fer_train::training::device::{self, Compute, DeviceChoice};

/// `--device` as it is written on the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    /// The GPU if there is one, otherwise the CPU.
    Auto,
    /// A discrete, integrated or virtual GPU; software renderers are refused.
    Gpu,
    /// A Vulkan driver that computes on the CPU (Mesa's llvmpipe); slow, to test the GPU path without a GPU.
    SoftwareGpu,
    /// All CPU cores, each with its own part of the mini-batch.
    Cpu,
    /// The first NVIDIA GPU, through LibTorch.
    #[cfg(feature = "libtorch")]
    Cuda,
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
    /// Train on a GPU even if its first step differs from the CPU's.
    #[arg(long)]
    trust_gpu: bool,
    /// For tests: makes the comparison of GPU and CPU fail at this kind of layer.
    #[arg(long, hide = true, value_name = "LAYER_KIND")]
    corrupt_gpu_check: Option<String>,
}

impl ComputeArgs {
    /// Opens the device.
    pub(crate) fn open(&self) -> Result<Compute> {
        let choice = match self.device {
            Device::Auto => DeviceChoice::Auto,
            Device::Gpu => DeviceChoice::Gpu,
            Device::SoftwareGpu => DeviceChoice::SoftwareGpu,
            Device::Cpu => DeviceChoice::Cpu,
            #[cfg(feature = "libtorch")]
            Device::Cuda => DeviceChoice::Cuda,
            #[cfg(feature = "ndarray")]
            Device::Ndarray => DeviceChoice::Ndarray,
        };
        let mut compute = device::open(choice, self.threads, self.trust_gpu)?;
        if let Some(gpu) = &mut compute.gpu {
            gpu.corrupted.clone_from(&self.corrupt_gpu_check);
        }
        Ok(compute)
    }
}
