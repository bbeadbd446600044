//! The house: in which order the rooms of `src/` stand, and that no two files import each other. Both are read from
//! the sources, because the compiler holds neither.
//!
//! What counts: a file that names an item (in a `use`, or in a path such as `crate::base::clock::now`) imports the file
//! that *defines* it. A re-export is seen through: who names `cache::Node` imports `cache/node.rs`, not `cache/mod.rs`,
//! but may do so only where both stand below. So a `mod.rs` that merely declares and re-exports is imported by
//! nobody and is in no circle. One that holds what its children import, and that imports (or re-exports) what they
//! hold, is a circle as any other: move what they share to a file of its own. `mod child;` alone imports nothing.
//! A file `front.rs` and the folder `front/` of its children are one: what they share is their own affair.
//! Comments, strings and what is compiled for tests only do not count.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::harness::file;

mod circles;
mod imports;
mod modules;
mod planted;
mod tokens;

use circles::{Circle, circles};
use imports::Import;
use modules::Modules;

/// From top to bottom. A room is a file right in `src/`, or a folder, or both of one name.
const ROOMS: [&str; 13] = [
    "main", "lib", "app", "server", "ops", "workers", "policy", "cache", "source", "copies",
    "observe", "config", "base",
];

#[test]
fn every_file_stands_in_a_room() {
    let homeless = in_no_room(&of_src().0);
    assert!(homeless.is_empty(), "{homeless}");
}

#[test]
fn rooms_import_downwards_only() {
    let wrong = against_the_order(&of_src().1);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_two_files_import_each_other_through_others_neither() {
    let (modules, imports) = of_src();
    let circles = circles(&with_children_as_one(&modules, imports));
    let list = circles.iter().map(Circle::to_string).collect::<String>();
    assert!(
        circles.is_empty(),
        "files of src/ that import each other:\n{list}"
    );
}

/// Our own sources, and all their imports.
fn of_src() -> (Modules, Vec<Import>) {
    let modules = Modules::read(&file("src"));
    let imports = imports::of(&modules);
    assert!(imports.len() > 100, "the reader finds the imports");
    (modules, imports)
}

/// The same imports, where `front.rs` stands for `front/..` too.
fn with_children_as_one(modules: &Modules, mut imports: Vec<Import>) -> Vec<Import> {
    let files: BTreeSet<&str> = modules.all.iter().map(|one| one.file.as_str()).collect();
    let whole = |file: &str| {
        let folders = file.match_indices('/').map(|(end, _)| &file[..end]);
        let mut parents = folders.map(|folder| format!("{folder}.rs"));
        let parent = parents.find(|parent| files.contains(parent.as_str()));
        parent.unwrap_or_else(|| file.to_owned())
    };
    for import in &mut imports {
        import.from = whole(&import.from);
        import.to = whole(&import.to);
    }
    imports.retain(|import| import.from != import.to);
    imports
}

/// Which files stand in none of [`ROOMS`].
fn in_no_room(modules: &Modules) -> String {
    let files: BTreeSet<&str> = modules.all.iter().map(|one| one.file.as_str()).collect();
    let homeless = files.into_iter().filter(|file| level(file).is_none());
    let list: Vec<_> = homeless.map(|file| format!("    src/{file}")).collect();
    if list.is_empty() {
        return String::new();
    }
    let (rooms, list) = (ROOMS.join(", "), list.join("\n"));
    format!("the rooms are, from top to bottom: {rooms}; in none of them stand\n{list}")
}

/// What is imported from a room above.
fn against_the_order(imports: &[Import]) -> String {
    let mut wrong = String::new();
    for import in imports {
        let is_above = |to: &&String| level(to) < level(&import.from) && level(to).is_some();
        let above = [&import.named_in, &import.to].into_iter().find(is_above);
        if let Some(to) = above {
            let _ = writeln!(
                wrong,
                "src/{} -> src/{to}: {}: `{}` stands below `{}` and may not import from it",
                import.from,
                import.name,
                room(&import.from),
                room(to),
            );
        }
    }
    wrong
}

/// How far down the room of a file is.
fn level(file: &str) -> Option<usize> {
    ROOMS.iter().position(|known| *known == room(file))
}

/// `cache` for `cache/node.rs`, for `cache/mod.rs` and for `cache.rs`.
fn room(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}
