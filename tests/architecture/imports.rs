//! Which file imports which: every name that a module uses is followed to the file that defines it.

use std::collections::BTreeSet;

use super::modules::{Module, Modules, Use};

/// The name of the library in the program's paths.
const LIBRARY: &str = "evenkeel";
/// Re-exports that are followed one behind the other; more would be a circle of names.
const JUMPS_MAX: usize = 16;

/// A file uses an item of another one. Files are named from `src/` on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// Who uses it.
    pub from: String,
    /// Where it is defined.
    pub to: String,
    /// The item.
    pub name: String,
    /// Of which module the path names it: another file than `to` where it is re-exported.
    pub named_in: String,
}

/// All imports, each once, in the order of the files.
pub fn of(modules: &Modules) -> Vec<Import> {
    let mut imports = BTreeSet::new();
    for (number, module) in modules.all.iter().enumerate() {
        let names = Names {
            modules,
            module,
            number,
        };
        let paths = module.paths.iter().filter_map(|path| names.find(path));
        let uses = module.uses.iter().flat_map(|one| names.of_use(one));
        for found in paths.chain(uses) {
            if found.file != module.file {
                imports.insert(Import {
                    from: module.file.clone(),
                    to: found.file,
                    name: found.name,
                    named_in: found.named_in,
                });
            }
        }
    }
    imports.into_iter().collect()
}

/// Where an item is.
struct Found {
    file: String,
    name: String,
    named_in: String,
}

/// What a path leads to.
#[derive(Clone)]
enum Target {
    Module(usize),
    /// In the module that defines it.
    Item(usize, String),
}

/// The names of one module.
struct Names<'m> {
    modules: &'m Modules,
    module: &'m Module,
    number: usize,
}

impl Names<'_> {
    /// The items that a `use` brings in. A module alone is no item: what is used of it, is.
    fn of_use(&self, one: &Use) -> Vec<Found> {
        if one.name != "*" {
            return self.find(&one.path).into_iter().collect();
        }
        let there = match self.modules.follow(self.number, &one.path, JUMPS_MAX) {
            Some((Target::Module(there), _)) => &self.modules.all[there],
            Some((item, named_in)) => return self.found(item, named_in).into_iter().collect(),
            None => return Vec::new(),
        };
        let own = (!there.items.is_empty()).then(|| Found {
            file: there.file.clone(),
            name: "*".to_owned(),
            named_in: there.file.clone(),
        });
        let passed_on = there.uses.iter().filter(|passed| passed.name != "*");
        let passed_on = passed_on.filter_map(|passed| {
            let mut path = one.path.clone();
            path.push(passed.name.clone());
            self.find(&path)
        });
        own.into_iter().chain(passed_on).collect()
    }

    fn find(&self, path: &[String]) -> Option<Found> {
        let (target, named_in) = self.modules.follow(self.number, path, JUMPS_MAX)?;
        self.found(target, named_in)
    }

    fn found(&self, target: Target, named_in: usize) -> Option<Found> {
        let Target::Item(module, name) = target else {
            return None;
        };
        let file = self.modules.all[module].file.clone();
        // What is re-exported by the very module that names it is that module's own business.
        let named_in = &self.modules.all[named_in].file;
        let named_in = if *named_in == self.module.file {
            &file
        } else {
            named_in
        };
        Some(Found {
            named_in: named_in.clone(),
            file,
            name,
        })
    }
}

impl Modules {
    /// Where `path` leads from module `at`, and which module it names last before a re-export; `None`: out of this house.
    fn follow(&self, at: usize, path: &[String], jumps: usize) -> Option<(Target, usize)> {
        let (first, mut rest) = path.split_first()?;
        let module = &self.all[at];
        let mut begin = match first.as_str() {
            "crate" => module.root,
            "self" => at,
            "super" => module.parent?,
            LIBRARY if Some(module.root) != self.library() => self.library()?,
            name => match module.children.get(name) {
                Some(child) => *child,
                None => {
                    // An alias, or an item of its own.
                    let one = module.uses.iter().find(|one| one.name == name)?;
                    if one.path == path[..1] || jumps == 0 {
                        return None;
                    }
                    return match self.follow(at, &one.path, jumps - 1)? {
                        (Target::Module(there), _) => self.descend(there, rest, jumps - 1),
                        item => Some(item),
                    };
                }
            },
        };
        while let Some((next, after)) = rest.split_first()
            && next == "super"
        {
            begin = self.all[begin].parent?;
            rest = after;
        }
        self.descend(begin, rest, jumps)
    }

    /// Where `path` leads that begins in `module`.
    fn descend(&self, module: usize, path: &[String], jumps: usize) -> Option<(Target, usize)> {
        let Some((name, rest)) = path.split_first() else {
            return Some((Target::Module(module), module));
        };
        if let Some(child) = self.all[module].children.get(name) {
            return self.descend(*child, rest, jumps);
        }
        match self.passed_on(module, name, jumps) {
            Some(Target::Module(there)) => self.descend(there, rest, jumps),
            Some(item) => Some((item, module)),
            None => Some((Target::Item(module, name.clone()), module)),
        }
    }

    /// What `module` has under this name from elsewhere.
    fn passed_on(&self, module: usize, name: &str, jumps: usize) -> Option<Target> {
        let this = &self.all[module];
        if this.items.contains(name) || jumps == 0 {
            return None;
        }
        if let Some(one) = this.uses.iter().find(|one| one.name == name) {
            return self
                .follow(module, &one.path, jumps - 1)
                .map(|(target, _)| target);
        }
        let globs = this.uses.iter().filter(|one| one.name == "*");
        globs.into_iter().find_map(|glob| {
            let (Target::Module(there), _) = self.follow(module, &glob.path, jumps - 1)? else {
                return None;
            };
            if self.all[there].items.contains(name) {
                return Some(Target::Item(there, name.to_owned()));
            }
            self.passed_on(there, name, jumps - 1)
        })
    }
}
