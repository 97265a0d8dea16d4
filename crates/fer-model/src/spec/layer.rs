//! The kinds of layers, and the output shape of each.

use serde::{Deserialize, Serialize};

/// How a convolution treats the border of its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// `kernel / 2` zeros on every side: with stride 1 the size stays the same (odd kernels only).
    #[default]
    Same,
    /// No padding: with stride 1 each side shrinks by `kernel - 1`.
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

/// One layer. In JSON, `kind` names it; unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// 2-D convolution.
    Conv {
        /// Output channels.
        channels: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Pixels from one window to the next, along both axes.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        stride: usize,
        /// Treatment of the border.
        #[serde(default)]
        padding: Padding,
        /// Number of channel groups that are convolved separately; with one group for each channel, the convolution is
        /// depthwise.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
        /// Whether a bias is added. It has no effect directly before a batch norm.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// Batch normalisation of channels or features (epsilon 1e-5).
    BatchNorm,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` where `x ≥ 0`, else `alpha · (exp(x) − 1)` (Clevert et al. 2016).
    Elu {
        /// Its limit towards minus infinity, negated.
        #[serde(default = "unit")]
        alpha: f64,
    },
    /// Maximum over `size`×`size` windows with stride `size`; a remainder at the border is dropped.
    MaxPool {
        /// Side of the window.
        size: usize,
    },
    /// Mean over `size`×`size` windows with stride `size`; a remainder at the border is dropped.
    AvgPool {
        /// Side of the window.
        size: usize,
    },
    /// Mean of each channel: `[channels, height, width]` to `[channels]`.
    GlobalAvgPool,
    /// Sets random activations to zero during training.
    Dropout {
        /// Probability that an activation is set to zero, in `[0, 1)`.
        rate: f64,
    },
    /// `[channels, height, width]` to `[features]`, row-major.
    Flatten,
    /// Fully connected layer.
    Dense {
        /// Output features.
        units: usize,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// `body(x) + shortcut(x)` (He et al. 2016). An activation after the sum is a separate layer.
    Residual {
        /// At least one layer.
        body: Vec<LayerSpec>,
        /// Layers of the shortcut; the identity if there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shortcut: Vec<LayerSpec>,
    },
    /// The block of MobileNetV2 (Sandler et al. 2018): a 1×1 convolution to `expansion` times the channels (left out if
    /// `expansion` is 1), a 3×3 depthwise convolution, and a 1×1 convolution without activation. A batch norm follows
    /// each, a ReLU6 the first two. The input is added if the shape stays the same.
    InvertedResidual {
        /// Output channels.
        channels: usize,
        /// Factor on the number of input channels.
        expansion: usize,
        /// Stride of the depthwise convolution.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        stride: usize,
    },
    /// Repeats every pixel `factor` times along both axes.
    Upsample {
        /// Factor on height and width.
        factor: usize,
    },
    /// Keeps its input under a name, for an `add` further on or for a head, and passes it on. Only in the trunk.
    Tap {
        /// The name.
        name: String,
    },
    /// `x + layers(tapped)`: the lateral connection of a feature pyramid (Lin et al. 2017). Only in the trunk.
    Add {
        /// Name of a tap before it.
        tap: String,
        /// Layers that bring the tapped value to the shape of `x`; the identity if there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        layers: Vec<LayerSpec>,
    },
}

/// One summand of a block: its name in the weights file, and its layers.
pub(super) type Branch = (&'static str, Vec<LayerSpec>);

impl LayerSpec {
    /// Its name in JSON.
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
            Self::Upsample { .. } => "upsample",
            Self::Tap { .. } => "tap",
            Self::Add { .. } => "add",
        }
    }

    /// The summands of a block; a branch without layers is the identity. Empty for any other layer.
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

    /// The output shape of a layer that is not a block.
    pub(super) fn output_shape(&self, input: Shape) -> Result<Shape, String> {
        let image = || match input {
            Shape::Image { channels, height, width } => Ok((channels, height, width)),
            Shape::Vector(n) => {
                Err(format!("needs an image, but gets a vector of {n}; it belongs before the flatten"))
            }
        };
        match *self {
            Self::Conv { channels, kernel, stride, padding, groups, .. } => {
                let size = image()?;
                positive("channels", channels)?;
                positive("kernel", kernel)?;
                positive("stride", stride)?;
                positive("groups", groups)?;
                convolved(size, channels, kernel, stride, padding, groups)
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
            Self::Upsample { factor } => {
                let (channels, height, width) = image()?;
                positive("factor", factor)?;
                let (height, width) = (height.saturating_mul(factor), width.saturating_mul(factor));
                positive("height", height)?;
                positive("width", width)?;
                Ok(Shape::Image { channels, height, width })
            }
            Self::Tap { .. } | Self::Add { .. } => {
                Err("belongs to the trunk itself, not into a block or a head".to_owned())
            }
            Self::Residual { .. } | Self::InvertedResidual { .. } => {
                unreachable!("a block's shape is that of its branches")
            }
        }
    }

    /// Checks the numbers of a block, before its branches are made from them.
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

/// The largest number in a layer. No real network comes near it; it keeps arithmetic on a hostile file from overflowing.
const MAX_SIZE: usize = 1 << 20;

/// The output shape of a convolution over `[channels, height, width]`.
fn convolved(
    (given, height, width): (usize, usize, usize),
    channels: usize,
    kernel: usize,
    stride: usize,
    padding: Padding,
    groups: usize,
) -> Result<Shape, String> {
    if !given.is_multiple_of(groups) || !channels.is_multiple_of(groups) {
        return Err(format!(
            "groups is {groups}, which does not divide both {given} and {channels} channels"
        ));
    }
    if kernel > height || kernel > width {
        return Err(format!("kernel {kernel} is larger than its input {height}×{width}"));
    }
    if padding == Padding::Same && kernel.is_multiple_of(2) {
        return Err(format!("kernel {kernel} is even; same padding expects an odd one"));
    }
    let side = |side: usize| match padding {
        Padding::Same => (side - 1) / stride + 1,
        Padding::Valid => (side - kernel) / stride + 1,
    };
    Ok(Shape::Image { channels, height: side(height), width: side(width) })
}

fn positive(what: &str, value: usize) -> Result<(), String> {
    match value {
        0 => Err(format!("{what} is 0; expected at least 1")),
        1..=MAX_SIZE => Ok(()),
        _ => Err(format!("{what} is {value}; expected at most {MAX_SIZE}")),
    }
}

/// The shape of one sample between two layers, without the batch.
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
    /// Channels of an image, or features of a vector: a batch norm has statistics for each.
    pub fn channels(self) -> usize {
        match self {
            Self::Image { channels, .. } => channels,
            Self::Vector(features) => features,
        }
    }

    /// Number of pixels in one channel; 1 for a vector.
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
