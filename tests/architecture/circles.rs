//! Files that import each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::imports::Import;

/// Files each of which leads to all others.
pub struct Circle {
    /// The imports among them: from, to, names.
    imports: BTreeMap<(String, String), BTreeSet<String>>,
    /// The shortest way round, which ends where it begins.
    shortest: Vec<String>,
}

/// All circles, the smallest first.
pub fn circles(imports: &[Import]) -> Vec<Circle> {
    let mut next = BTreeMap::<&str, BTreeSet<&str>>::new();
    for import in imports {
        next.entry(&import.from).or_default().insert(&import.to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = next
        .keys()
        .map(|file| (*file, reach(file, &next)))
        .collect();
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
    let mut groups = BTreeSet::<BTreeSet<&str>>::new();
    for (file, others) in &reached {
        let group = others.iter().filter(|other| leads(other, file)).copied();
        groups.insert(group.collect());
    }
    groups.retain(|group| !group.is_empty());
    let mut circles: Vec<_> = groups
        .iter()
        .map(|group| circle(group, imports, &next))
        .collect();
    circles.sort_by_key(|circle| circle.files().len());
    circles
}

fn circle(
    group: &BTreeSet<&str>,
    imports: &[Import],
    next: &BTreeMap<&str, BTreeSet<&str>>,
) -> Circle {
    let is_in = |file: &str| group.contains(file);
    let mut among = BTreeMap::<_, BTreeSet<String>>::new();
    for import in imports
        .iter()
        .filter(|one| is_in(&one.from) && is_in(&one.to))
    {
        let pair = (import.from.clone(), import.to.clone());
        among.entry(pair).or_default().insert(import.name.clone());
    }
    let ways = group.iter().filter_map(|file| way_round(file, next));
    let shortest = ways.min_by_key(Vec::len).unwrap_or_default();
    Circle {
        imports: among,
        shortest: shortest.into_iter().map(str::to_owned).collect(),
    }
}

/// What a file leads to, itself only if there is a way back.
fn reach<'f>(file: &'f str, next: &BTreeMap<&'f str, BTreeSet<&'f str>>) -> BTreeSet<&'f str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![file];
    while let Some(at) = open.pop() {
        for to in next.get(at).into_iter().flatten() {
            if reached.insert(*to) {
                open.push(to);
            }
        }
    }
    reached
}

/// The shortest way from a file back to it.
fn way_round<'f>(
    file: &'f str,
    next: &BTreeMap<&'f str, BTreeSet<&'f str>>,
) -> Option<Vec<&'f str>> {
    let mut open = VecDeque::from([vec![file]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = open.pop_front() {
        let at = way.last().copied()?;
        for to in next.get(at).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(to);
            if *to == file {
                return Some(longer);
            }
            if seen.insert(*to) {
                open.push_back(longer);
            }
        }
    }
    None
}

impl Circle {
    /// Those in it.
    pub fn files(&self) -> BTreeSet<&str> {
        self.imports.keys().map(|(from, _)| from.as_str()).collect()
    }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.files().len();
        let way = self.shortest.join(" -> ");
        writeln!(
            f,
            "a circle of {count} files; the shortest way round: {way}"
        )?;
        for ((from, to), names) in &self.imports {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            writeln!(f, "    {from} -> {to}: {}", names.join(", "))?;
        }
        Ok(())
    }
}
