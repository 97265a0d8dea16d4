//! Where the arithmetic runs: a GPU through wgpu or LibTorch, or the CPU through burn's flex backend.
//!
//! A GPU is compared with the CPU before a run trusts it, see [`crate::training::gpu_check`].

use anyhow::Result;
use burn::tensor::Device;

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The GPU if there is one, else the CPU.
    Auto,
    /// A discrete, integrated or virtual GPU; a software renderer is refused.
    Gpu,
    /// A Vulkan driver that computes on the CPU, to test the GPU path on a machine without a GPU.
    SoftwareGpu,
    /// All cores, each with its own share of the mini-batch.
    Cpu,
    /// The first NVIDIA GPU, through LibTorch.
    #[cfg(feature = "libtorch")]
    Cuda,
    /// burn's deprecated ndarray backend, to cross-check results.
    #[cfg(feature = "ndarray")]
    Ndarray,
}

/// A device and into how many shards a mini-batch is split on it.
pub struct Compute {
    /// Without automatic differentiation.
    pub device: Device,
    /// Parts of a mini-batch that are computed at the same time.
    pub shards: usize,
    /// For people.
    pub name: String,
    /// None on the CPU.
    pub gpu: Option<Gpu>,
}

/// What a refusal to train on a GPU says about it.
pub struct Gpu {
    /// Name and version, as the driver gives them.
    pub driver: String,
    /// Whether to train on it even if its results differ from the CPU's.
    pub trusted: bool,
    /// Layer kind whose weights the comparison with the CPU changes on the GPU, to see that it finds the difference. Only
    /// for tests; the training itself is not affected.
    pub corrupted: Option<String>,
}

impl Gpu {
    /// What to tell people before the first step.
    pub fn first_step_notice(&self) -> String {
        format!("{} prepares the kernels of the network, which can take minutes", self.driver)
    }
}

/// Opens the device. `threads` is the number of CPU threads; 0 uses all cores. `trust_gpu` turns the refusal of a GPU that
/// computes wrong numbers into a warning.
///
/// # Errors
/// If a GPU was asked for and none is found.
pub fn open(choice: DeviceChoice, threads: usize, trust_gpu: bool) -> Result<Compute> {
    let cpu = || {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = if threads == 0 { cores } else { threads };
        Compute { device: Device::flex(), shards, name: format!("CPU, {shards} threads"), gpu: None }
    };
    match choice {
        DeviceChoice::Cpu => Ok(cpu()),
        DeviceChoice::Gpu => gpu(trust_gpu),
        DeviceChoice::SoftwareGpu => software_gpu(trust_gpu),
        #[cfg(feature = "libtorch")]
        DeviceChoice::Cuda => cuda(trust_gpu),
        DeviceChoice::Auto => Ok(gpu(trust_gpu).unwrap_or_else(|_| cpu())),
        #[cfg(feature = "ndarray")]
        DeviceChoice::Ndarray => {
            let name = "CPU, ndarray".to_owned();
            Ok(Compute { device: Device::ndarray(), shards: 1, name, gpu: None })
        }
    }
}

/// Discrete before integrated before virtual. The kinds are named explicitly because the default selector also accepts a
/// software renderer, on which a single step can take minutes.
#[cfg(feature = "wgpu")]
fn gpu(trusted: bool) -> Result<Compute> {
    use burn::tensor::DeviceKind;
    use burn::tensor::wgpu::WgpuBackend;

    let api = if cfg!(target_os = "macos") { WgpuBackend::Metal } else { WgpuBackend::Vulkan };
    for kind in [DeviceKind::DiscreteGpu(0), DeviceKind::IntegratedGpu(0), DeviceKind::VirtualGpu(0)] {
        if let Ok(found) = wgpu(kind, api, trusted) {
            return Ok(found);
        }
    }
    anyhow::bail!("no discrete, integrated or virtual GPU with a {api:?} driver was found; use --device cpu")
}

#[cfg(feature = "wgpu")]
fn software_gpu(trusted: bool) -> Result<Compute> {
    use anyhow::Context;
    use burn::tensor::DeviceKind;
    use burn::tensor::wgpu::WgpuBackend;

    wgpu(DeviceKind::Cpu, WgpuBackend::Vulkan, trusted).context(
        "no software Vulkan driver was found; install Mesa's (Debian: mesa-vulkan-drivers) and set XDG_RUNTIME_DIR to an \
         existing folder",
    )
}

#[cfg(feature = "wgpu")]
fn wgpu(
    kind: burn::tensor::DeviceKind,
    api: burn::tensor::wgpu::WgpuBackend,
    trusted: bool,
) -> Result<Compute> {
    let options = Device::wgpu_options().graphics_api(api).device_kind(kind);
    let (device, setup) = options.init_with_setup()?;
    let info = setup.adapter.get_info();
    let driver = format!("{} {}", info.driver, info.driver_info);
    Ok(Compute { device, shards: 1, name: info.name, gpu: Some(Gpu { driver, trusted, corrupted: None }) })
}

/// By default cuDNN rounds a convolution's factors to ten bits (TF32), which changed a gradient of a residual network by 7 %
/// of its norm. Only the environment can tell it not to.
#[cfg(feature = "libtorch")]
fn cuda(trusted: bool) -> Result<Compute> {
    anyhow::ensure!(
        tch::Cuda::is_available(),
        "LibTorch finds no NVIDIA GPU; it needs NVIDIA's driver, and a LibTorch that was built for CUDA"
    );
    anyhow::ensure!(
        trusted || std::env::var_os("NVIDIA_TF32_OVERRIDE").is_some_and(|value| value == "0"),
        "set NVIDIA_TF32_OVERRIDE=0 in the environment, so that cuDNN does not round to TF32; --trust-gpu trains with TF32"
    );
    #[expect(deprecated, reason = "burn 0.22 deprecates its LibTorch backend")]
    let device = Device::libtorch_cuda(0);
    let gpu = Gpu { driver: "LibTorch".to_owned(), trusted, corrupted: None };
    Ok(Compute { device, shards: 1, name: "NVIDIA GPU (CUDA)".to_owned(), gpu: Some(gpu) })
}

#[cfg(not(feature = "wgpu"))]
fn gpu(_trusted: bool) -> Result<Compute> {
    anyhow::bail!("this build has no GPU backend; build with the Cargo feature wgpu, or use --device cpu")
}

#[cfg(not(feature = "wgpu"))]
fn software_gpu(trusted: bool) -> Result<Compute> {
    gpu(trusted)
}
