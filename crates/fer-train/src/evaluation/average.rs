//! The mean of several networks' weights as one network (model soups, Wortsman et al. 2022).

use anyhow::{Result, bail};
use fer_model::NetworkSpec;
use fer_model::spec::{LayerSpec, Step};
use fer_model::weights::{Array, Weights};

/// The mean of each weight over networks of equal specs, running statistics of batch norms included.
///
/// The mean of running statistics does not describe the averaged network: `reestimate` measures them anew.
///
/// # Errors
/// If the specs differ.
pub fn mean_weights(members: &[(&NetworkSpec, &Weights)]) -> Result<Weights> {
    let (spec, first) = members[0];
    if let Some((other, _)) = members.iter().find(|(other, _)| *other != spec) {
        bail!(
            "only weights of the same network can be averaged; {} differs from {}",
            other.name(),
            spec.name()
        );
    }
    let mean = |(name, array): (&str, &Array)| {
        let mut values = vec![0.0; array.values.len()];
        for (_, weights) in members {
            let own = weights.get(name).values.iter();
            values.iter_mut().zip(own).for_each(|(sum, value)| *sum += value / members.len() as f32);
        }
        (name.to_owned(), Array { shape: array.shape.clone(), values })
    };
    Ok(Weights::new(spec.architecture(), first.iter().map(mean).collect())?)
}

/// Whether a network has batch norms, inside of blocks too.
pub fn has_batch_norms(spec: &NetworkSpec) -> bool {
    fn any(steps: &[Step]) -> bool {
        steps.iter().any(|step| {
            matches!(step.layer, LayerSpec::BatchNorm) || step.branches.iter().any(|branch| any(branch))
        })
    }
    any(&spec.architecture().steps())
}
