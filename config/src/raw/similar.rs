//! What did the user mean? The known word that is nearest to a misspelt one.

/// `did you mean …?` if a known word is near enough.
pub(crate) fn to<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let wanted = plain(written);
    let distance = |word: &'a str| (strsim::damerau_levenshtein(&plain(word), &wanted), word);
    let (distance, word) = known.map(distance).min()?;
    (distance <= (wanted.len() / 3).max(1)).then(|| format!("did you mean `{word}`?"))
}

/// `` `a`, `b` ``
pub(crate) fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// What a closed set of words admits: `` `a` `` or `` one of `a`, `b` ``.
pub(crate) fn one_of<'a>(words: impl Iterator<Item = &'a str> + Clone) -> String {
    let list = list(words.clone());
    if words.count() == 1 { list } else { format!("one of {list}") }
}

/// Case and separators are no difference: `forward_to` is `forwardTo`. Long garbage is cut, for the time it would take.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_')).take(64).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let known = ["retry", "timeouts", "forwardTo"];
        let to = |word| to(word, known.into_iter());
        assert_eq!(to("retrys").as_deref(), Some("did you mean `retry`?"));
        assert_eq!(to("timeout").as_deref(), Some("did you mean `timeouts`?"));
        assert_eq!(to("forward_to").as_deref(), Some("did you mean `forwardTo`?"));
        assert_eq!(to("circuit"), None);
        assert_eq!(to(""), None);
    }
}
