//! Distillation: the probabilities of a teacher become part of the soft targets of the training rows.

use anyhow::{Result, ensure};
use fer_dataset::Sample;
use fer_model::{Bundle, Emotion, NetworkSpec};
use serde_json::Value;

use crate::evaluation::evaluate::mean;
use crate::evaluation::scorer::Scorer;
use crate::evaluation::views::{Views, view_logits};
use crate::open::open_bundle;
use crate::training::config::{TrainingConfig, Validation};
use crate::training::device::Compute;
use crate::training::shards::Shards;
use crate::training::teacher::Teacher;

/// Opens the bundle of a teacher.
///
/// # Errors
/// If it is not a bundle, if it has other labels than the network, or if one of them has several heads.
pub fn open_teacher(teacher: &Teacher, spec: &NetworkSpec) -> Result<Bundle> {
    let bundle = open_bundle(&teacher.bundle)?;
    ensure!(
        bundle.network().labels() == spec.labels(),
        "the teacher {} tells other labels apart than {}",
        teacher.bundle.display(),
        spec.name()
    );
    ensure!(
        bundle.network().label_sets().len() == 1 && spec.label_sets().len() == 1,
        "{} or its teacher {} has several heads; a teacher teaches one head",
        spec.name(),
        teacher.bundle.display()
    );
    Ok(bundle)
}

/// Blends the teacher's probabilities, each the mean over a face and its mirror image, into the soft targets.
pub fn teach(teacher: &Teacher, bundle: &Bundle, samples: &mut [Sample], compute: &Compute, shards: &Shards) {
    let scorer = Scorer::of_bundle(shards, bundle, &compute.device);
    let views = view_logits(&scorer, samples, Views::Flip);
    let probabilities = mean(&views, samples.len(), teacher.temperature);
    let weight = teacher.weight as f32;
    for (sample, probabilities) in samples.iter_mut().zip(probabilities) {
        let own = sample.votes_among(&Emotion::ALL).unwrap_or_else(|| one_hot(sample.label));
        let mut targets = Emotion::ALL.map(|emotion| (1.0 - weight) * own[emotion.index()]);
        for (label, probability) in bundle.network().labels().iter().zip(probabilities) {
            targets[label.index()] += weight * probability as f32;
        }
        sample.votes = Some(targets);
    }
}

/// The whole weight on one label.
fn one_hot(label: Emotion) -> Vec<f32> {
    Emotion::ALL.iter().map(|&emotion| f32::from(u8::from(emotion == label))).collect()
}

/// What a teacher may know about the validation rows of its student, from the least to the most. The student's validation
/// score is too high where it is not [`Unseen`](Self::Unseen).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherKnowledge {
    /// The teacher was neither trained nor selected on them.
    Unseen,
    /// The best epoch of the teacher was selected on them.
    Selected,
    /// The teacher may have been trained on some of them.
    Trained,
    /// The teacher's bundle does not say how it was trained.
    Unknown,
}

/// Compares a teacher's manifest (`training`) with the student's configuration. The members of an ensemble count
/// together.
pub fn teacher_knowledge(training: &Value, student: &TrainingConfig) -> TeacherKnowledge {
    let members = ["members", "averaged"].iter().find_map(|key| training.get(key).and_then(Value::as_array));
    if let Some(members) = members {
        let each = members.iter().map(|member| teacher_knowledge(member, student));
        return each.max().unwrap_or(TeacherKnowledge::Unknown);
    }
    let config = training.get("config").cloned().unwrap_or_default();
    let Ok(teacher) = serde_json::from_value::<TrainingConfig>(config) else {
        return TeacherKnowledge::Unknown;
    };
    // The rows of a stratified split follow from all of these.
    let split = |config: &TrainingConfig| {
        (config.validation.clone(), config.seed, config.votes.clone(), config.leave_out_copies)
    };
    match (&student.validation, &teacher.validation) {
        (Validation::PublicTest, Validation::PublicTest) => TeacherKnowledge::Selected,
        (Validation::PublicTest, Validation::Stratified { .. }) => TeacherKnowledge::Unseen,
        (Validation::Stratified { .. }, _) if split(&teacher) == split(student) => TeacherKnowledge::Selected,
        (Validation::Stratified { .. }, _) => TeacherKnowledge::Trained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_teacher_may_know_the_validation_rows() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/training/cnn6.json");
        let config = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|&text| text.to_owned()).collect();
            TrainingConfig::read(&path, &set).unwrap()
        };
        let history = |set: &[&str]| json!({"config": config(set), "epoch": 3});
        let (public, stratified) = (&[][..], &["validation.kind=stratified"][..]);
        let other_seed = &["validation.kind=stratified", "seed=99"][..];
        for (student, teacher, expected) in [
            (public, public, TeacherKnowledge::Selected),
            (public, stratified, TeacherKnowledge::Unseen),
            (stratified, public, TeacherKnowledge::Trained),
            (stratified, stratified, TeacherKnowledge::Selected),
            (stratified, other_seed, TeacherKnowledge::Trained),
        ] {
            let found = teacher_knowledge(&history(teacher), &config(student));
            assert_eq!(found, expected, "student {student:?}, teacher {teacher:?}");
        }
        let ensemble = json!({"members": [history(stratified), {"averaged": [history(other_seed)]}]});
        assert_eq!(teacher_knowledge(&ensemble, &config(stratified)), TeacherKnowledge::Trained);
        assert_eq!(teacher_knowledge(&Value::Null, &config(public)), TeacherKnowledge::Unknown);
        assert_eq!(json!(TeacherKnowledge::Trained), json!("trained"));
    }
}
