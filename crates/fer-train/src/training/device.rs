//! Where the arithmetic runs: a GPU through wgpu, or the CPU through burn's flex backend.

use anyhow::Result;
use burn::tensor::Device;

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The GPU if there is one, else the CPU.
    Auto,
    /// A discrete or integrated GPU; a software renderer is refused.
    Gpu,
    /// All cores, each with its own share of the mini-batch.
    Cpu,
    /// burn's deprecated ndarray backend, to cross-check results.
    #[cfg(feature = "ndarray")]
    Ndarray,
}

/// A device and into how many shards a mini-batch is split on it.
pub struct Compute {
    pub device: Device,
    pub shards: usize,
    /// For people.
    pub name: String,
}

/// Opens the device. `threads` is the number of CPU threads; 0 uses all cores.
///
/// # Errors
/// If a GPU was asked for and none is found.
pub fn open(choice: DeviceChoice, threads: usize) -> Result<Compute> {
    let cpu = || {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = if threads == 0 { cores } else { threads };
        Compute { device: Device::flex(), shards, name: format!("CPU, {shards} threads") }
    };
    match choice {
        DeviceChoice::Cpu => Ok(cpu()),
        DeviceChoice::Gpu => gpu(),
        DeviceChoice::Auto => Ok(gpu().unwrap_or_else(|_| cpu())),
        #[cfg(feature = "ndarray")]
        DeviceChoice::Ndarray => {
            Ok(Compute { device: Device::ndarray(), shards: 1, name: "CPU, ndarray".to_owned() })
        }
    }
}

/// Discrete before integrated. The kinds are named explicitly because the default selector also accepts a
/// software renderer, on which a single step takes minutes.
#[cfg(feature = "wgpu")]
fn gpu() -> Result<Compute> {
    use burn::tensor::DeviceKind;
    use burn::tensor::wgpu::WgpuBackend;

    let api = if cfg!(target_os = "macos") { WgpuBackend::Metal } else { WgpuBackend::Vulkan };
    for kind in [DeviceKind::DiscreteGpu(0), DeviceKind::IntegratedGpu(0)] {
        let options = Device::wgpu_options().graphics_api(api).device_kind(kind);
        if let Ok(device) = options.init() {
            let name = device.identity().map_or_else(|| "GPU".to_owned(), |identity| identity.name);
            return Ok(Compute { device, shards: 1, name });
        }
    }
    anyhow::bail!("no discrete or integrated GPU with a {api:?} driver was found; use --device cpu")
}

#[cfg(not(feature = "wgpu"))]
fn gpu() -> Result<Compute> {
    anyhow::bail!("this build has no GPU backend; build with the Cargo feature wgpu, or use --device cpu")
}
