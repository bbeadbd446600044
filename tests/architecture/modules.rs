//! The modules of a tree of sources: which file each is in, what it declares and imports, and which paths it names.
//! Files that no `mod` leads to, as those of tests, are not read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::tokens::{self, Tokens};

/// Items that are known by the name behind this word.
const ITEMS: [&str; 8] = [
    "fn",
    "struct",
    "enum",
    "trait",
    "type",
    "const",
    "static",
    "macro_rules",
];
/// The two crates of `src/`: the library, and the program that uses it.
const ROOTS: [&str; 2] = ["lib.rs", "main.rs"];

/// All of them; the library's and the program's roots are [`Modules::root`].
#[derive(Default)]
pub struct Modules {
    /// Each knows others by their place here.
    pub all: Vec<Module>,
    roots: BTreeMap<&'static str, usize>,
}

/// A file, or a module with a body in one.
#[derive(Default)]
pub struct Module {
    /// Below `src/`.
    pub file: String,
    /// `None`: the root of a crate.
    pub parent: Option<usize>,
    /// The root of its crate.
    pub root: usize,
    /// Modules that it declares.
    pub children: BTreeMap<String, usize>,
    /// What it defines.
    pub items: BTreeSet<String>,
    /// What it imports.
    pub uses: Vec<Use>,
    /// Paths of two words and more in its code.
    pub paths: Vec<Vec<String>>,
}

/// One name that a `use` brings in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// As it is called here; `*`: everything that is there.
    pub name: String,
    /// Where it is from, without the `*`.
    pub path: Vec<String>,
}

impl Modules {
    /// Those of a folder.
    pub fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(folder, "", &mut files);
        Self::of(&files)
    }

    /// Those of these files: path below `src/`, and text.
    pub fn of(files: &BTreeMap<String, String>) -> Self {
        let mut modules = Self::default();
        for root in ROOTS {
            if let Some(text) = files.get(root) {
                let number = modules.add(root.to_owned(), None);
                modules.roots.insert(root, number);
                modules.fill(number, "", tokens::of(text), files);
            }
        }
        modules
    }

    /// The module that is the library.
    pub fn library(&self) -> Option<usize> {
        self.roots.get("lib.rs").copied()
    }

    fn add(&mut self, file: String, parent: Option<usize>) -> usize {
        let number = self.all.len();
        let root = parent.map_or(number, |parent| self.all[parent].root);
        self.all.push(Module {
            file,
            parent,
            root,
            ..Module::default()
        });
        number
    }

    /// Reads what a module consists of; `folder` has the files of its children.
    fn fill(
        &mut self,
        number: usize,
        folder: &str,
        tokens: Tokens,
        files: &BTreeMap<String, String>,
    ) {
        let mut depth = 0;
        let mut at = 0;
        while at < tokens.len() {
            let next = |more: usize| {
                tokens
                    .get(at + more)
                    .map(String::as_str)
                    .unwrap_or_default()
            };
            match next(0) {
                "mod" if is_name(next(1)) && matches!(next(2), ";" | "{") => {
                    at = self.declare(number, folder, &tokens, at, files);
                    continue;
                }
                "use" if next(1) != "<" => {
                    let end = (at..tokens.len()).find(|&i| tokens[i] == ";");
                    let end = end.unwrap_or(tokens.len());
                    let mut tree = Tree(&tokens[at + 1..end]);
                    tree.read(&[], &mut self.all[number].uses);
                    at = end;
                }
                "{" => depth += 1,
                "}" => depth -= 1,
                word if depth == 0 && ITEMS.contains(&word) => {
                    let name = if next(1) == "!" { next(2) } else { next(1) };
                    self.all[number].items.insert(name.to_owned());
                }
                _ => {}
            }
            at = self.read_path(number, &tokens, at);
        }
    }

    /// Reads the module that is declared at `at`, and returns what is behind it.
    fn declare(
        &mut self,
        number: usize,
        folder: &str,
        tokens: &Tokens,
        at: usize,
        files: &BTreeMap<String, String>,
    ) -> usize {
        let name = tokens[at + 1].clone();
        let inner = format!("{folder}{name}/");
        if tokens[at + 2] == "{" {
            let mut depth = 0;
            let end = (at + 2..tokens.len()).find(|&i| {
                depth += i32::from(tokens[i] == "{") - i32::from(tokens[i] == "}");
                depth == 0
            });
            let end = end.unwrap_or(tokens.len());
            let child = self.add(self.all[number].file.clone(), Some(number));
            self.all[number].children.insert(name, child);
            self.fill(child, &inner, tokens[at + 3..end].to_vec(), files);
            return end + 1;
        }
        let candidates = [format!("{folder}{name}.rs"), format!("{inner}mod.rs")];
        let file = candidates.iter().find(|file| files.contains_key(*file));
        let file = file.unwrap_or_else(|| panic!("no file for `mod {name};`: {candidates:?}"));
        let child = self.add(file.clone(), Some(number));
        self.all[number].children.insert(name, child);
        self.fill(child, &inner, tokens::of(&files[file]), files);
        at + 3
    }

    /// Takes down the path that begins at `at`, if one does, and returns what is behind it.
    fn read_path(&mut self, number: usize, tokens: &Tokens, at: usize) -> usize {
        let before = |count: usize| at.checked_sub(count).map(|i| tokens[i].as_str());
        let is_visibility = before(1) == Some("in") && before(3) == Some("pub");
        let is_inside = matches!(before(1), Some("::" | ".")) || is_visibility;
        let mut end = at;
        let mut path = Vec::new();
        while tokens.get(end).is_some_and(|token| is_name(token)) {
            path.push(tokens[end].clone());
            end += 1;
            match tokens.get(end).map(String::as_str) {
                Some("::") if tokens.get(end + 1).is_some_and(|word| is_name(word)) => end += 1,
                _ => break,
            }
        }
        if path.len() > 1 && !is_inside {
            self.all[number].paths.push(path);
            return end;
        }
        at + 1
    }
}

fn is_name(token: &str) -> bool {
    let first = token.chars().next().unwrap_or(' ');
    first.is_alphabetic() || first == '_'
}

fn collect(folder: &Path, below: &str, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder)
        .expect("a folder of sources")
        .flatten()
    {
        let path = entry.path();
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            files.insert(name, std::fs::read_to_string(&path).expect("a source"));
        }
    }
}

/// What is left to read of the tree of a `use`.
struct Tree<'t>(&'t [String]);

impl Tree<'_> {
    /// Reads one branch, which hangs at `stem`.
    fn read(&mut self, stem: &[String], uses: &mut Vec<Use>) {
        let mut path = stem.to_vec();
        while let Some(token) = self.take() {
            match token.as_str() {
                "::" => {}
                "{" => {
                    while !matches!(self.0.first().map(String::as_str), Some("}") | None) {
                        self.read(&path, uses);
                    }
                    self.take();
                    self.skip_comma();
                    return;
                }
                "*" => {
                    uses.push(Use {
                        name: "*".to_owned(),
                        path,
                    });
                    self.skip_comma();
                    return;
                }
                "as" => {
                    let name = self.take().unwrap_or_default();
                    uses.push(Use { name, path });
                    self.skip_comma();
                    return;
                }
                "self" if path.len() > stem.len() || !stem.is_empty() => {}
                _ => path.push(token),
            }
            if matches!(self.0.first().map(String::as_str), Some("," | "}") | None) {
                break;
            }
        }
        let name = path.last().cloned().unwrap_or_default();
        uses.push(Use { name, path });
        self.skip_comma();
    }

    fn take(&mut self) -> Option<String> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first.clone())
    }

    fn skip_comma(&mut self) {
        if self.0.first().is_some_and(|token| token == ",") {
            self.take();
        }
    }
}

#[test]
fn groups_aliases_and_globs_of_a_use_are_read() {
    let text = "a::{self, b::{C, D as E}, f::*}, G, super::super::h as i";
    let mut uses = Vec::new();
    for part in [text, "crate::x::Y"] {
        let tokens = tokens::of(&format!("{{{part},}}"));
        Tree(&tokens).read(&[], &mut uses);
    }
    let read: Vec<_> = uses
        .iter()
        .map(|one| format!("{} = {}", one.name, one.path.join("::")))
        .collect();
    let expected = [
        "a = a",
        "C = a::b::C",
        "E = a::b::D",
        "* = a::f",
        "G = G",
        "i = super::super::h",
        "Y = crate::x::Y",
    ];
    assert_eq!(read, expected);
}
