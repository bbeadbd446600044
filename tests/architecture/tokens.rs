//! The words and signs of a Rust source, without comments, strings and what is compiled for tests only.

/// Words, `::`, and single signs, in their order.
pub type Tokens = Vec<String>;

/// Keywords of items that end with a semicolon, and of those that may end with a block.
const ENDS_WITH_SEMICOLON: [&str; 4] = ["use", "static", "type", "extern"];
const MAY_END_WITH_BLOCK: [&str; 9] = [
    "fn",
    "struct",
    "enum",
    "impl",
    "trait",
    "mod",
    "unsafe",
    "async",
    "macro_rules",
];

/// Those of `text` that the program is built of.
pub fn of(text: &str) -> Tokens {
    without_tests(&all(text))
}

fn all(text: &str) -> Tokens {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Tokens::new();
    let mut at = 0;
    while at < chars.len() {
        let (here, next) = (chars[at], chars.get(at + 1).copied());
        match (here, next) {
            ('/', Some('/')) => at = end_of_line(&chars, at),
            ('/', Some('*')) => at = end_of_block_comment(&chars, at),
            ('"', _) => at = end_of_string(&chars, at),
            ('\'', _) => at = end_of_quote(&chars, at),
            (':', Some(':')) => {
                tokens.push("::".to_owned());
                at += 2;
            }
            _ if is_of_word(here) => {
                let end = (at..chars.len()).find(|&i| !is_of_word(chars[i]));
                let end = end.unwrap_or(chars.len());
                let word: String = chars[at..end].iter().collect();
                let is_raw = matches!(&*word, "r" | "br" | "cr");
                at = match chars.get(end) {
                    Some('"' | '#') if is_raw && raw_string(&chars, end).is_some() => {
                        raw_string(&chars, end).unwrap_or(end)
                    }
                    Some('#') if word == "r" => end + 1,
                    Some('"') if matches!(&*word, "b" | "c") => end,
                    Some('\'') if word == "b" => end,
                    _ => {
                        tokens.push(word);
                        end
                    }
                };
            }
            _ => {
                if !here.is_whitespace() {
                    tokens.push(here.to_string());
                }
                at += 1;
            }
        }
    }
    tokens
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    let end = chars[at..].iter().position(|char| *char == '\n');
    end.map_or(chars.len(), |length| at + length)
}

/// Block comments are nested in Rust.
fn end_of_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != '"' {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    end + 1
}

/// The end of a raw string whose hashes or quotation mark begin at `at`; `None`: it is none.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|char| **char == '#').count();
    let begin = at + hashes;
    if chars.get(begin) != Some(&'"') {
        return None;
    }
    let is_end = |&end: &usize| {
        let after = chars[end + 1..].iter().take(hashes);
        chars[end] == '"' && after.filter(|char| **char == '#').count() == hashes
    };
    (begin + 1..chars.len())
        .find(is_end)
        .map(|end| end + 1 + hashes)
}

/// A character, or the mark of a lifetime, which is left out.
fn end_of_quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let end = (at + 3..chars.len()).find(|&i| chars[i] == '\'');
            end.unwrap_or(chars.len()) + 1
        }
        (_, Some('\'')) => at + 3,
        _ => {
            let end = (at + 1..chars.len()).find(|&i| !is_of_word(chars[i]));
            end.unwrap_or(chars.len())
        }
    }
}

/// Leaves out every item, field or statement that has `#[cfg(test)]` or `#[cfg(all(test, ..))]`.
fn without_tests(tokens: &[String]) -> Tokens {
    let mut kept = Tokens::new();
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &["#", "[", "cfg", "(", "test", ")"])
            || starts_with(&tokens[at..], &["#", "[", "cfg", "(", "all", "(", "test"])
        {
            at = end_of_item(tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn starts_with(tokens: &[String], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token == word)
}

/// Behind what begins, with its attributes, at `at`.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|token| token == "#") {
        at = end_of_bracket(tokens, at + 1);
    }
    let is_keyword = |token: &&String| {
        let known = |words: &[&str]| words.contains(&token.as_str());
        known(&ENDS_WITH_SEMICOLON) || known(&MAY_END_WITH_BLOCK)
    };
    // Visibility, `const` and `let` stand before what tells.
    let begin = tokens[at..].iter().take(8);
    let keyword = begin.take_while(|token| !matches!(token.as_str(), ":" | "=" | "," | "{" | ";"));
    let keyword = keyword.clone().find(is_keyword).map(String::as_str);
    let may_end_with_block = keyword.is_some_and(|word| MAY_END_WITH_BLOCK.contains(&word));
    let may_end_with_comma = keyword.is_none();
    while at < tokens.len() {
        match tokens[at].as_str() {
            ";" => return at + 1,
            "," if may_end_with_comma => return at + 1,
            ")" | "]" | "}" => return at,
            "{" if may_end_with_block => return end_of_bracket(tokens, at),
            "(" | "[" | "{" => at = end_of_bracket(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Behind the bracket that closes the one at `at`.
fn end_of_bracket(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

#[test]
fn comments_strings_and_characters_are_left_out() {
    let text = r###"
        //! crate::a
        /* crate::b /* crate::c */ crate::d */
        const A: &str = "crate::e \" crate::f"; // crate::g
        const B: &[u8] = br#"crate::h " crate::i"#;
        fn f<'a>(c: char) -> bool { c == '"' || c == '\'' || c == b'"' as char } // '
        fn r#use() {}
    "###;
    let words: Vec<_> = of(text)
        .into_iter()
        .filter(|token| is_of_word(token.chars().next().unwrap_or(' ')))
        .collect();
    assert_eq!(
        words.join(" "),
        "const A str const B u8 fn f c char bool c c c as char fn use"
    );
}

#[test]
fn what_is_compiled_for_tests_alone_is_left_out() {
    let text = "
        #[cfg(test)] use a::{b, c};
        #[cfg(test)]
        #[allow(dead_code, reason = \"}\")]
        pub(crate) fn only_here<T, U>(t: [T; 3]) -> U { { a } }
        struct Kept { #[cfg(test)] field: Vec<u8>, other: u8 }
        #[cfg(all(test, unix))] mod tests { fn x() {} }
        #[cfg(test)] mod more_tests;
        #[cfg(test)] const LIMITS: Limits = Limits { most: 3 };
        #[cfg(unix)] fn kept() {}
    ";
    let kept = "struct Kept { other : u8 } # [ cfg ( unix ) ] fn kept ( ) { }";
    assert_eq!(of(text).join(" "), kept);
}
