//! What a reader of a bundle's scores must know about its training.

use serde_json::Value;

/// One sentence for each way in which the training knew more of the validation or test rows than their scores suggest.
///
/// `training` is the manifest's: a run's configuration, or the histories of an ensemble's members.
pub fn caveats(training: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(training, &mut found);
    found
}

fn collect(training: &Value, found: &mut Vec<String>) {
    for key in ["members", "averaged"] {
        for history in training.get(key).and_then(Value::as_array).into_iter().flatten() {
            collect(history, found);
        }
    }
    let Some(config) = training.get("config") else { return };
    let mut add = |text: String| {
        if !found.contains(&text) {
            found.push(text);
        }
    };
    if config.get("leave_out_copies") == Some(&Value::Bool(true)) {
        let count = training.get("copies_left_out").and_then(Value::as_u64);
        let rows = count.map_or("Training rows".to_owned(), |count| format!("{count} training rows"));
        add(format!(
            "{rows} with a copy in PublicTest or PrivateTest were left out (`leave_out_copies`). To find them, the training \
             rows were compared with the pixels of both tests; the labels of the tests were not used."
        ));
    }
    let stratified = config.pointer("/validation/kind").and_then(Value::as_str) == Some("stratified");
    if let Some(teacher) = config.pointer("/teacher/bundle").and_then(Value::as_str) {
        let recorded = training.pointer("/teacher/knows_validation_rows").and_then(Value::as_str);
        let score = if stratified { "validation" } else { "PublicTest" };
        if let Some(knowledge) = teacher_knowledge(recorded, stratified) {
            add(format!(
                "The network learned from the teacher {teacher}, {knowledge}. The {score} score may be too high."
            ));
        }
    }
    if let (Some(initial), true) = (config.get("init_from").and_then(Value::as_str), stratified) {
        add(format!(
            "Training started from {initial}. The validation rows are a part of the training rows, so these weights may \
             have been trained on them, and the validation score may be too high."
        ));
    }
}

/// What the teacher knows of the validation rows, as a relative clause; `None` if it knows nothing.
///
/// `recorded` is what training wrote into the bundle. Bundles from before that fall back to what is possible.
fn teacher_knowledge(recorded: Option<&str>, stratified: bool) -> Option<&'static str> {
    let fallback = if stratified { "trained" } else { "selected" };
    match recorded.unwrap_or(fallback) {
        "unseen" => None,
        "selected" => Some("whose best epoch may have been selected on the validation rows"),
        "trained" => Some("which may have been trained on some of the validation rows"),
        _ => Some("whose bundle does not say whether it was trained on the validation rows"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ordinary_run_has_none() {
        let config = json!({"leave_out_copies": false, "validation": {"kind": "public_test"}});
        assert_eq!(caveats(&json!({"config": config, "epoch": 3})), [""; 0]);
        assert_eq!(caveats(&Value::Null), [""; 0]);
    }

    #[test]
    fn copies_and_teachers_are_said_once_for_all_members() {
        let taught = json!({"config": {
            "leave_out_copies": true,
            "validation": {"kind": "stratified", "share": 0.2},
            "teacher": {"bundle": "runs/x3", "share": 0.5},
            "init_from": "runs/a/bundle/weights.safetensors",
        }});
        let found = caveats(&json!({"members": [taught, {"averaged": [taught]}]}));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("leave_out_copies"), "{found:?}");
        assert!(
            found[1].contains("runs/x3") && found[1].contains("validation score may be too high"),
            "{found:?}"
        );
        assert!(found[2].contains("runs/a/bundle"), "{found:?}");
    }

    #[test]
    fn a_teacher_beside_public_test_may_have_been_selected_on_it() {
        let found =
            caveats(&json!({"config": {"teacher": {"bundle": "t"}, "validation": {"kind": "public_test"}}}));
        assert!(found[0].contains("selected on") && found[0].contains("PublicTest score"), "{found:?}");
    }

    #[test]
    fn what_training_recorded_counts() {
        let of = |knows: &str| {
            let config = json!({"teacher": {"bundle": "t"}, "leave_out_copies": true});
            caveats(&json!({
                "config": config, "copies_left_out": 7, "teacher": {"knows_validation_rows": knows},
            }))
        };
        assert_eq!(of("unseen").len(), 1);
        assert!(of("unseen")[0].starts_with("7 training rows"), "{:?}", of("unseen"));
        assert!(of("trained")[1].contains("trained on some of the validation rows"));
        assert!(of("unknown")[1].contains("does not say"));
    }
}
