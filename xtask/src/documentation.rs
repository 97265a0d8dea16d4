//! Checks that the documentation names only files and functions that exist.

use std::path::Path;

use crate::workspace;

/// The pages that are checked.
const PAGES: [&str; 12] = [
    "README.md",
    "datasets/README.md",
    "docs/api.md",
    "docs/architecture.md",
    "docs/benchmarks.md",
    "docs/corpora.md",
    "docs/deployment.md",
    "docs/python.md",
    "docs/responsible-use.md",
    "docs/results.md",
    "docs/tables.md",
    "docs/training.md",
];

/// Folders of the repository: a code span that begins with one of them is a path from the repository's root.
const FOLDERS: [&str; 8] =
    [".ci/", "assets/", "bindings/", "configs/", "crates/", "deploy/", "docs/", "xtask/"];

/// Files that a build or a command makes, which a fresh clone does not have.
const GENERATED: [&str; 1] = ["assets/runtime/libonnxruntime.so"];

/// The text of a page without its fenced code blocks.
fn prose(markdown: &str) -> String {
    let outside = markdown.split("```").step_by(2);
    outside.collect()
}

/// Code spans that name a path, with the function after the colon in `file.rs:function`.
fn paths(prose: &str) -> Vec<(&str, Option<&str>)> {
    let spans = prose.split('`').skip(1).step_by(2);
    spans
        .filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)))
        .filter(|span| !span.contains(['*', ' ', '<', '{']))
        .map(|span| span.split_once(':').map_or((span, None), |(path, function)| (path, Some(function))))
        .collect()
}

/// Targets of relative links such as `[text](path#heading)`, without the heading.
fn links(prose: &str) -> Vec<&str> {
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap_or(target));
    files.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

/// Whether a source file defines a function of this name; `Type::function` also needs the type's name in the file.
fn defines(source: &str, function: &str) -> bool {
    let (scope, name) = function.rsplit_once("::").unwrap_or(("", function));
    let definition = |bracket: char| source.contains(&format!("fn {name}{bracket}"));
    source.contains(scope) && (definition('(') || definition('<'))
}

fn faults(page: &str, text: &str) -> Vec<String> {
    let prose = prose(text);
    let mut faults = Vec::new();
    for (path, function) in paths(&prose) {
        let file = workspace(path);
        if !file.exists() && !GENERATED.contains(&path) {
            faults.push(format!("{page}: {path} does not exist"));
        } else if let Some(function) = function {
            let source = std::fs::read_to_string(&file).unwrap_or_default();
            if !defines(&source, function) {
                faults.push(format!("{page}: {path} defines no function {function}"));
            }
        }
    }
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    for link in links(&prose) {
        let target = folder.join(link);
        if !workspace(&target.to_string_lossy()).exists() {
            faults.push(format!("{page}: the link to {link} is broken"));
        }
    }
    faults
}

#[test]
fn every_path_function_and_link_exists() {
    let mut all = Vec::new();
    for page in PAGES {
        let text = std::fs::read_to_string(workspace(page)).unwrap();
        all.extend(faults(page, &text));
    }
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

#[test]
fn faults_are_found() {
    let page = "See `xtask/src/main.rs:main`, `xtask/src/main.rs:nowhere`, `xtask/src/absent.rs`, `cargo xtask bench`,\n\
                [here](benchmarks.md#serving) and [there](absent.md).\n```console\n$ `xtask/src/absent.rs`\n```\n";
    assert_eq!(
        faults("docs/example.md", page),
        [
            "docs/example.md: xtask/src/main.rs defines no function nowhere",
            "docs/example.md: xtask/src/absent.rs does not exist",
            "docs/example.md: the link to absent.md is broken",
        ]
    );
}
