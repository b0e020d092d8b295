//! Which module of a crate uses which other ones, by any spelling.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::files;

/// A module by its path in its crate, such as `["engine", "docker"]`.
pub(crate) type Module = Vec<String>;

/// The modules of a crate that have a file of their own, tests apart, each with those that it uses.
pub(crate) fn graph(crate_directory: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let sources: BTreeMap<Module, String> = files(&crate_directory.join("src"), "rs")
        .into_iter()
        .filter_map(|(name, text)| {
            let path: Module = name
                .trim_end_matches(".rs")
                .split('/')
                .map(str::to_owned)
                .collect();
            let is_root = matches!(path[0].as_str(), "lib" | "main" | "bin");
            (!is_root && path.last().unwrap() != "tests").then_some((path, text))
        })
        .collect();
    let known: BTreeSet<Module> = sources.keys().cloned().collect();
    sources
        .into_iter()
        .map(|(module, text)| {
            let tokens: TokenStream = text.parse().unwrap();
            let mut reader = Reader {
                module: &module,
                known: &known,
                names: BTreeMap::new(),
                used: BTreeSet::new(),
            };
            // Names first, because a file may use one before it says where it comes from.
            reader.read(tokens.clone());
            reader.read(tokens);
            let used = reader.used;
            (module, used)
        })
        .collect()
}

/// The groups of modules that use each other in a circle. What a module and those inside of it have to do with each other
/// is their own matter.
pub(crate) fn circles(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<&Module>> {
    let is_inside = |one: &Module, other: &Module| one.starts_with(other);
    let next = |module: &Module| {
        graph[module]
            .iter()
            .filter(|used| !is_inside(module, used) && !is_inside(used, module))
            .collect::<Vec<_>>()
    };
    let reachable = |from: &Module| {
        let mut reached = BTreeSet::new();
        let mut ahead = next(from);
        while let Some(module) = ahead.pop() {
            if reached.insert(module.clone()) {
                ahead.extend(next(module));
            }
        }
        reached
    };
    let reachable: BTreeMap<&Module, BTreeSet<Module>> = graph
        .keys()
        .map(|module| (module, reachable(module)))
        .collect();
    let mut circles: Vec<Vec<&Module>> = Vec::new();
    for (module, reached) in &reachable {
        let is_told = circles.iter().flatten().any(|told| told == module);
        if is_told || !reached.contains(*module) {
            continue;
        }
        let members = reachable
            .iter()
            .filter(|(other, back)| reached.contains(**other) && back.contains(*module));
        circles.push(members.map(|(member, _)| *member).collect());
    }
    circles
}

/// Reads the tokens of one file.
struct Reader<'a> {
    module: &'a Module,
    known: &'a BTreeSet<Module>,
    /// What `use` has brought in: a name, and where it leads.
    names: BTreeMap<String, Module>,
    used: BTreeSet<Module>,
}

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut is_test = false;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(mark) if mark.as_char() == '#' => {
                    is_test |= tokens.get(at + 1).is_some_and(|attribute| {
                        let text = attribute.to_string().replace(' ', "");
                        text == "[cfg(test)]"
                    });
                    at += 2;
                    continue;
                }
                TokenTree::Ident(word) if word == "use" => at = self.read_use(&tokens, at + 1),
                TokenTree::Ident(_) => at = self.read_path(&tokens, at),
                TokenTree::Group(group) => {
                    if !is_test {
                        self.read(group.stream());
                    }
                    // What is for tests ends with its braces.
                    is_test &= group.delimiter() != Delimiter::Brace;
                    at += 1;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
            }
        }
    }

    /// Reads a path in the code, and says where it ends.
    fn read_path(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let (path, end) = segments(tokens, at);
        self.follow(&path);
        end
    }

    /// Reads a declaration from behind its `use`, and says where it ends.
    fn read_use(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let end = tokens[at..]
            .iter()
            .position(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ';'))
            .map_or(tokens.len(), |len| at + len);
        self.read_tree(&[], &tokens[at..end]);
        end
    }

    fn read_tree(&mut self, prefix: &[String], tokens: &[TokenTree]) {
        for branch in
            tokens.split(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ','))
        {
            let (path, end) = segments(branch, 0);
            let mut whole = prefix.to_vec();
            whole.extend(path);
            match &branch.get(end) {
                Some(TokenTree::Group(group)) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.read_tree(&whole, &inner);
                }
                Some(TokenTree::Ident(word)) if *word == "as" => {
                    let name = branch[end + 1].to_string();
                    self.bring_in(name, &whole);
                }
                _ => {
                    if whole.last().is_some_and(|last| last == "self") {
                        whole.pop();
                    }
                    if let Some(name) = whole.last().cloned() {
                        self.bring_in(name, &whole);
                    }
                }
            }
        }
    }

    fn bring_in(&mut self, name: String, path: &[String]) {
        self.follow(path);
        if let Some(place) = self.place(path) {
            self.names.insert(name, place);
        }
    }

    fn follow(&mut self, path: &[String]) {
        let Some(place) = self.place(path) else {
            return;
        };
        let module = (1..=place.len())
            .rev()
            .map(|len| place[..len].to_vec())
            .find(|module| self.known.contains(module));
        if let Some(module) = module.filter(|module| module != self.module) {
            self.used.insert(module);
        }
    }

    /// Where a path leads, from the root of the crate; `None` leads out of it.
    fn place(&self, path: &[String]) -> Option<Module> {
        let mut place = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            name => {
                let mut child = self.module.clone();
                child.push(name.to_owned());
                if self.known.contains(&child) {
                    child
                } else {
                    self.names.get(name)?.clone()
                }
            }
        };
        let mut rest = path;
        while let Some(first) = rest.first() {
            match first.as_str() {
                "super" => drop(place.pop()),
                "crate" | "self" => {}
                _ if rest.len() == path.len() => {}
                name => place.push(name.to_owned()),
            }
            rest = &rest[1..];
        }
        Some(place)
    }
}

/// Names with `::` between them, and where they end.
fn segments(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let is_colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    let mut path = Vec::new();
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        path.push(name.to_string());
        at += 1;
        if !(is_colon(at) && is_colon(at + 1)) {
            break;
        }
        at += 2;
    }
    (path, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a module `a::b` uses that has this text, where there are also `a`, `a::c` and `d::e`.
    fn used_by(text: &str) -> Vec<String> {
        let module = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
        let own = module("a::b");
        let known = ["a", "a::b", "a::c", "d", "d::e"].map(module).into();
        let mut reader = Reader {
            module: &own,
            known: &known,
            names: BTreeMap::new(),
            used: BTreeSet::new(),
        };
        let tokens: TokenStream = text.parse().unwrap();
        reader.read(tokens.clone());
        reader.read(tokens);
        reader.used.iter().map(|module| module.join("::")).collect()
    }

    #[test]
    fn a_module_is_found_by_any_spelling() {
        assert_eq!(used_by("use crate::d::e::Thing;"), ["d::e"]);
        assert_eq!(used_by("use crate::{d::{e, f}, a};"), ["a", "d", "d::e"]);
        assert_eq!(used_by("use super::c;"), ["a::c"]);
        assert_eq!(
            used_by("use super::super::d as x; fn f() { x::e::g(); }"),
            ["d", "d::e"]
        );
        assert_eq!(
            used_by("fn f() { let _ = vec![crate::d::e::g()]; }"),
            ["d::e"]
        );
        assert_eq!(used_by("use std::d::e; use tokio::select;"), [""; 0]);
        assert_eq!(
            used_by("#[cfg(test)] mod tests { use crate::d::e; }"),
            [""; 0]
        );
        assert_eq!(
            used_by("#[cfg(test)] mod tests; use crate::d::e;"),
            ["d::e"]
        );
    }

    #[test]
    fn a_circle_is_found_and_a_parent_is_none() {
        let module = |name: &str| name.split("::").map(str::to_owned).collect::<Module>();
        let graph: BTreeMap<Module, BTreeSet<Module>> = [
            ("a", vec!["a::b", "c"]),
            ("a::b", vec!["a"]),
            ("c", vec!["d"]),
            ("d", vec!["e"]),
            ("e", vec!["c"]),
        ]
        .into_iter()
        .map(|(name, used)| (module(name), used.into_iter().map(module).collect()))
        .collect();
        let told: Vec<Vec<String>> = circles(&graph)
            .iter()
            .map(|circle| circle.iter().map(|module| module.join("::")).collect())
            .collect();
        assert_eq!(told, [["c", "d", "e"]]);
    }
}
