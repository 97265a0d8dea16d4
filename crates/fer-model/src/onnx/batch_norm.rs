//! Batch norms that are folded into the layer before them.

use crate::spec::Step;
use crate::weights::Weights;

/// Added to the variance, as in the burn network.
pub(super) const EPSILON: f32 = 1e-5;

/// A batch norm as `x * scale + shift` by channel, in double precision.
pub(super) struct BatchNorm {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl BatchNorm {
    pub(super) fn of(step: &Step, weights: &Weights) -> Self {
        let values = |role: &str| &weights.get(&step.parameter_name(role)).values;
        let (weight, bias) = (values("weight"), values("bias"));
        let (mean, var) = (values("running_mean"), values("running_var"));
        let scale: Vec<f64> = weight
            .iter()
            .zip(var)
            .map(|(weight, var)| f64::from(*weight) / (f64::from(*var) + f64::from(EPSILON)).sqrt())
            .collect();
        let shift =
            bias.iter().zip(mean).zip(&scale).map(|((b, m), s)| f64::from(*b) - f64::from(*m) * s).collect();
        Self { scale, shift }
    }

    /// Folds the norm into the linear layer before it: `scale_weights` scales the weights of one output channel by a factor,
    /// and `offset` is the layer's bias.
    pub(super) fn fold(&self, offset: &mut [f32], mut scale_weights: impl FnMut(usize, f32)) {
        for (channel, offset) in offset.iter_mut().enumerate() {
            scale_weights(channel, self.scale[channel] as f32);
            *offset = (f64::from(*offset) * self.scale[channel] + self.shift[channel]) as f32;
        }
    }
}
