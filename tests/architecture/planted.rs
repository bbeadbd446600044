//! Small trees with a fault planted in them: the reader of the architecture finds and names it.

use std::collections::BTreeMap;

use super::circles::{Circle, circles};
use super::imports::{self, Import};
use super::modules::Modules;

/// A tree of these files.
fn modules(files: &[(&str, &str)]) -> Modules {
    let files: BTreeMap<String, String> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    Modules::of(&files)
}

/// What the files of a tree import.
fn tree(files: &[(&str, &str)]) -> Vec<Import> {
    imports::of(&modules(files))
}

/// `from -> to: name`, sorted.
fn lines(imports: &[Import]) -> Vec<String> {
    let line = |one: &Import| format!("{} -> {}: {}", one.from, one.to, one.name);
    imports.iter().map(line).collect()
}

fn all_circles(imports: &[Import]) -> String {
    circles(imports).iter().map(Circle::to_string).collect()
}

#[test]
fn a_planted_circle_of_two_files_is_found_and_named() {
    let imports = tree(&[
        ("lib.rs", "pub mod cache;"),
        ("cache/mod.rs", "mod link; mod role;"),
        (
            "cache/link.rs",
            "use super::role::{self, Role}; pub struct Link;",
        ),
        (
            "cache/role.rs",
            "pub struct Role; fn f(_: &super::link::Link) {}",
        ),
    ]);
    assert_eq!(
        all_circles(&imports),
        "a circle of 2 files; the shortest way round: \
         cache/link.rs -> cache/role.rs -> cache/link.rs\n    \
         cache/link.rs -> cache/role.rs: Role\n    \
         cache/role.rs -> cache/link.rs: Link\n"
    );
}

#[test]
fn a_planted_circle_through_other_rooms_is_found_and_named() {
    let imports = tree(&[
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; use crate::d::D; pub struct A;"),
        ("b.rs", "pub struct B(crate::c::C);"),
        ("c.rs", "use crate::a; pub struct C(a::A);"),
        ("d.rs", "pub struct D;"),
    ]);
    let found = circles(&imports);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].files().into_iter().collect::<Vec<_>>(),
        ["a.rs", "b.rs", "c.rs"]
    );
    let said = found[0].to_string();
    assert!(said.contains("a.rs -> b.rs -> c.rs -> a.rs"), "{said}");
}

#[test]
fn a_planted_upward_import_is_found_and_named() {
    let imports = tree(&[
        ("main.rs", "fn main() { evenkeel::app::run(); }"),
        ("lib.rs", "pub mod app; mod cache; mod base;"),
        ("app.rs", "use crate::cache::Cache; pub fn run() {}"),
        (
            "cache/mod.rs",
            "mod node; pub struct Cache(crate::base::Clock);",
        ),
        ("cache/node.rs", "fn f() { crate::app::run() }"),
        ("base.rs", "pub struct Clock;"),
    ]);
    assert_eq!(
        super::against_the_order(&imports),
        "src/cache/node.rs -> src/app.rs: run: `cache` stands below `app` and may not import from it\n"
    );
}

#[test]
fn an_upward_import_of_what_is_re_exported_from_below_is_one() {
    let imports = tree(&[
        ("lib.rs", "mod app; mod cache; mod base;"),
        ("app.rs", "pub use crate::base::Clock;"),
        ("cache.rs", "use crate::app::Clock;"),
        ("base.rs", "pub struct Clock;"),
    ]);
    let wrong = super::against_the_order(&imports);
    assert!(
        wrong.starts_with("src/cache.rs -> src/app.rs: Clock: "),
        "{wrong}"
    );
}

#[test]
fn a_file_in_no_room_is_named() {
    let said = super::in_no_room(&modules(&[
        ("lib.rs", "mod util; mod base;"),
        ("util/mod.rs", "pub mod misc;"),
        ("util/misc.rs", ""),
        ("base.rs", "pub struct Clock;"),
    ]));
    let stand = "in none of them stand\n    src/util/misc.rs\n    src/util/mod.rs";
    assert!(said.ends_with(stand), "{said}");
}

#[test]
fn a_folder_that_merely_re_exports_its_children_is_in_no_circle() {
    let imports = tree(&[
        ("lib.rs", "mod cache; mod user;"),
        (
            "cache/mod.rs",
            "mod node; mod pool; pub use node::Node; pub use pool::*;",
        ),
        ("cache/node.rs", "use super::Pool; pub struct Node;"),
        ("cache/pool.rs", "pub struct Pool;"),
        ("user.rs", "use crate::cache::{Node, Pool};"),
    ]);
    assert_eq!(all_circles(&imports), "");
    let lines = lines(&imports);
    for seen_through in [
        "cache/node.rs -> cache/pool.rs: Pool",
        "user.rs -> cache/node.rs: Node",
        "user.rs -> cache/pool.rs: Pool",
    ] {
        assert!(lines.iter().any(|line| line == seen_through), "{lines:?}");
    }
}

#[test]
fn a_folder_that_holds_what_its_children_import_and_imports_them_is_a_circle() {
    let parent = |uses: &str| format!("mod node; {uses} pub struct Shared;");
    let circles_with = |uses: &str| {
        all_circles(&tree(&[
            ("lib.rs", "mod cache;"),
            ("cache/mod.rs", &parent(uses)),
            (
                "cache/node.rs",
                "use super::Shared; pub struct Node(Shared);",
            ),
        ]))
    };
    assert_eq!(circles_with(""), "", "to declare a child imports nothing");
    for uses in [
        "use node::Node;",
        "pub use node::Node;",
        "fn f(_: node::Node) {}",
    ] {
        let said = circles_with(uses);
        assert!(
            said.contains("cache/mod.rs -> cache/node.rs: Node"),
            "{uses}: {said}"
        );
    }
}

#[test]
fn what_stands_in_comments_strings_and_tests_is_no_import() {
    let imports = tree(&[
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "//! See [`crate::b::B`].\n\
             pub struct A; const TEXT: &str = \"crate::b::B\"; /* use crate::b::B; */\n\
             #[cfg(test)] mod tests { use crate::b::B; }\n\
             #[cfg(test)] mod more_tests;",
        ),
        ("a/more_tests.rs", "use crate::b::B;"),
        (
            "b.rs",
            "use crate::a::A; pub struct B; pub(in crate::a) fn f() {}",
        ),
    ]);
    assert_eq!(lines(&imports), ["b.rs -> a.rs: A"]);
}

#[test]
fn paths_are_followed_from_where_they_stand() {
    let imports = tree(&[
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "pub mod deep; pub fn here() {}"),
        (
            "a/deep.rs",
            "mod inner { fn f() { super::super::here(); super::own(); crate::b::g::<u8>(); } }\n\
             fn own() {}",
        ),
        (
            "b.rs",
            "use crate::{a::{deep as d, here as there}}; use std::time;\n\
             pub fn g<T>() { d::Thing::new(); self::g::<u8>(); time::Instant::now(); there() }",
        ),
    ]);
    assert_eq!(
        lines(&imports),
        [
            "a/deep.rs -> a/mod.rs: here",
            "a/deep.rs -> b.rs: g",
            "b.rs -> a/deep.rs: Thing",
            "b.rs -> a/mod.rs: here",
        ]
    );
}
