//! The kinds of layers, and what each makes of a shape.

use serde::{Deserialize, Serialize};

/// How a convolution treats its border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// `kernel / 2` zeros on every side: with stride 1 the side stays (odd kernels only).
    #[default]
    Same,
    /// None: windows lie inside, with stride 1 the side shrinks by `kernel - 1`.
    Valid,
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn unit() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(value: &usize) -> bool {
    *value == 1
}

/// One layer. `kind` names it in JSON; unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// 2-D convolution.
    Conv {
        /// Output channels.
        channels: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Pixels from one window to the next, both ways.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        stride: usize,
        /// Border.
        #[serde(default)]
        padding: Padding,
        /// Runs of channels that do not see each other; as many as channels make it depthwise.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
        /// Whether a bias is added; pointless directly under a batch norm.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Batch normalisation over channels or features (epsilon 1e-5).
    BatchNorm,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` from 0 on, `alpha · (exp(x) − 1)` below (Clevert et al. 2016).
    Elu {
        /// What it falls to, negated.
        #[serde(default = "unit")]
        alpha: f64,
    },
    /// Maximum over `size`×`size` windows, stride `size`, remainder dropped.
    MaxPool {
        /// Side of the window.
        size: usize,
    },
    /// Mean over `size`×`size` windows, stride `size`, remainder dropped.
    AvgPool {
        /// Side of the window.
        size: usize,
    },
    /// Mean of each channel: `[channels, height, width]` to `[channels]`.
    GlobalAvgPool,
    /// Zeroes activations while training.
    Dropout {
        /// Probability of zeroing, in `[0, 1)`.
        rate: f64,
    },
    /// `[channels, height, width]` to `[features]`, row-major.
    Flatten,
    /// Fully connected.
    Dense {
        /// Output features.
        units: usize,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// `body(x) + shortcut(x)` (He et al. 2016); what follows the sum is a layer of its own.
    Residual {
        /// At least one layer.
        body: Vec<LayerSpec>,
        /// The identity where it is empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shortcut: Vec<LayerSpec>,
    },
    /// MobileNetV2's block (Sandler et al. 2018): 1×1 to `expansion` times the channels (left out if that is 1), 3×3
    /// depthwise, 1×1 without activation; batch norm behind each, ReLU6 behind the first two. Its input is added where
    /// the shape stays.
    InvertedResidual {
        /// Output channels.
        channels: usize,
        /// Times its input's channels.
        expansion: usize,
        /// The depthwise convolution's.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        stride: usize,
    },
}

/// The layers of one summand of a block, and its name in the weights file.
pub(super) type Branch = (&'static str, Vec<LayerSpec>);

impl LayerSpec {
    /// The name in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "conv",
            Self::BatchNorm => "batch_norm",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Elu { .. } => "elu",
            Self::MaxPool { .. } => "max_pool",
            Self::AvgPool { .. } => "avg_pool",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::Dropout { .. } => "dropout",
            Self::Flatten => "flatten",
            Self::Dense { .. } => "dense",
            Self::Residual { .. } => "residual",
            Self::InvertedResidual { .. } => "inverted_residual",
        }
    }

    /// Of a block: what is summed. A branch without layers is the identity.
    pub(super) fn branches(&self, input: Shape) -> Vec<Branch> {
        match *self {
            Self::Residual { ref body, ref shortcut } => {
                vec![("body", body.clone()), ("shortcut", shortcut.clone())]
            }
            Self::InvertedResidual { channels, expansion, stride } => {
                let wide = input.channels().saturating_mul(expansion);
                let conv = |channels, kernel, stride, groups| Self::Conv {
                    channels,
                    kernel,
                    stride,
                    padding: Padding::Same,
                    groups,
                    bias: false,
                };
                let mut body = Vec::new();
                if expansion > 1 {
                    body.extend([conv(wide, 1, 1, 1), Self::BatchNorm, Self::Relu6]);
                }
                body.extend([conv(wide, 3, stride, wide), Self::BatchNorm, Self::Relu6]);
                body.extend([conv(channels, 1, 1, 1), Self::BatchNorm]);
                let mut branches = vec![("body", body)];
                if stride == 1 && channels == input.channels() {
                    branches.push(("shortcut", Vec::new()));
                }
                branches
            }
            _ => Vec::new(),
        }
    }

    /// What a layer that is no block makes of a shape.
    pub(super) fn output_shape(&self, input: Shape) -> Result<Shape, String> {
        let image = || match input {
            Shape::Image { channels, height, width } => Ok((channels, height, width)),
            Shape::Vector(n) => {
                Err(format!("needs an image, but gets a vector of {n}; it belongs before the flatten"))
            }
        };
        match *self {
            Self::Conv { channels, kernel, stride, padding, groups, .. } => {
                let (given, height, width) = image()?;
                positive("channels", channels)?;
                positive("kernel", kernel)?;
                positive("stride", stride)?;
                positive("groups", groups)?;
                if !given.is_multiple_of(groups) || !channels.is_multiple_of(groups) {
                    return Err(format!(
                        "groups is {groups}, which divides not both of {given} and {channels} channels"
                    ));
                }
                if kernel > height || kernel > width {
                    return Err(format!("kernel {kernel} is larger than its input {height}×{width}"));
                }
                let side = |side: usize| match padding {
                    Padding::Same => (side - 1) / stride + 1,
                    Padding::Valid => (side - kernel) / stride + 1,
                };
                if padding == Padding::Same && kernel.is_multiple_of(2) {
                    return Err(format!("kernel {kernel} is even; same padding expects an odd one"));
                }
                Ok(Shape::Image { channels, height: side(height), width: side(width) })
            }
            Self::MaxPool { size } | Self::AvgPool { size } => {
                let (channels, height, width) = image()?;
                positive("size", size)?;
                if size > height || size > width {
                    return Err(format!("size {size} is larger than its input {height}×{width}"));
                }
                Ok(Shape::Image { channels, height: height / size, width: width / size })
            }
            Self::GlobalAvgPool => image().map(|(channels, ..)| Shape::Vector(channels)),
            Self::Flatten => {
                image().map(|(channels, height, width)| Shape::Vector(channels * height * width))
            }
            Self::Dense { units, .. } => match input {
                Shape::Vector(_) => positive("units", units).map(|()| Shape::Vector(units)),
                Shape::Image { .. } => {
                    Err(format!("needs a vector, but gets an image {input}; expected a flatten before"))
                }
            },
            Self::Dropout { rate } if !(0.0..1.0).contains(&rate) => {
                Err(format!("rate is {rate}; expected 0 to below 1"))
            }
            Self::Elu { alpha } if !(alpha.is_finite() && alpha > 0.0) => {
                Err(format!("alpha is {alpha}; expected a number above 0"))
            }
            Self::BatchNorm | Self::Relu | Self::Relu6 | Self::Elu { .. } | Self::Dropout { .. } => Ok(input),
            Self::Residual { .. } | Self::InvertedResidual { .. } => {
                unreachable!("a block's shape is that of its branches")
            }
        }
    }

    /// What a block's own numbers must be before its branches are looked at.
    pub(super) fn check_block(&self, input: Shape) -> Result<(), String> {
        match *self {
            Self::Residual { ref body, .. } if body.is_empty() => {
                Err("the body is empty; expected at least one layer".to_owned())
            }
            Self::InvertedResidual { channels, expansion, stride } => {
                positive("channels", channels)?;
                positive("expansion", expansion)?;
                positive("stride", stride)?;
                positive("expanded channels", input.channels().saturating_mul(expansion))
            }
            _ => Ok(()),
        }
    }
}

/// Sizes that no sane model has; above them, arithmetic on a hostile file could overflow.
const MOST: usize = 1 << 20;

fn positive(what: &str, value: usize) -> Result<(), String> {
    match value {
        0 => Err(format!("{what} is 0; expected at least 1")),
        1..=MOST => Ok(()),
        _ => Err(format!("{what} is {value}; expected at most {MOST}")),
    }
}

/// The shape of one sample between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[channels, height, width]`
    Image {
        /// Channels.
        channels: usize,
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// `[features]`
    Vector(usize),
}

impl Shape {
    /// Channels of an image, features of a vector: what a batch norm has statistics for.
    pub fn channels(self) -> usize {
        match self {
            Self::Image { channels, .. } => channels,
            Self::Vector(features) => features,
        }
    }

    /// Pixels of one channel; 1 for a vector.
    pub fn pixels(self) -> usize {
        match self {
            Self::Image { height, width, .. } => height * width,
            Self::Vector(_) => 1,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image { channels, height, width } => write!(f, "{channels}×{height}×{width}"),
            Self::Vector(features) => write!(f, "{features}"),
        }
    }
}
