//! Names that a mistyped name may have meant.

/// At most this many names are proposed.
const MOST: usize = 3;

/// The names that differ least from `name`. All of them are written as in SQL, perhaps in double quotes.
pub(super) fn nearest(name: &str, known: &[String]) -> Vec<String> {
    let bare = |name: &str| name.replace('"', "").to_lowercase();
    let wanted = bare(name);
    let mut ranked: Vec<_> = known.iter().map(|known| (distance(&wanted, &bare(known)), known)).collect();
    ranked.sort();
    ranked.dedup();
    ranked.into_iter().take(MOST).map(|(_, name)| name.clone()).collect()
}

/// The Levenshtein distance: insertions, deletions and replacements of characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut costs: Vec<usize> = (0..=right.len()).collect();
    for (row, character) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut costs[0], row + 1);
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *other);
            diagonal = costs[column + 1];
            costs[column + 1] = replaced.min(diagonal + 1).min(costs[column] + 1);
        }
    }
    costs[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_and_quotes() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!([distance("", "abc"), distance("abc", ""), distance("ü", "ü")], [3, 3, 0]);
        let known = ["happy", "raw_happy", "\"FaceRectX\"", "x"].map(str::to_owned);
        assert_eq!(nearest("hapy", &known)[0], "happy");
        assert_eq!(nearest("facerectx", &known)[0], "\"FaceRectX\"");
        assert!(nearest("a", &[]).is_empty());
    }
}
