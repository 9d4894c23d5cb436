//! Reads a settings file with the files that it includes.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use glob::{MatchOptions, Pattern};

use super::tree::{Kind, Node};
use crate::settings::{Origin, SettingsError};

/// The key of a file that names further ones.
const INCLUDE: &str = "include";

/// The largest settings file that is read, in bytes; far above a file with a thousand backends.
pub(super) const SIZE_MAX: u64 = 4 << 20;

/// The largest number of files that a file may include.
const FILES_MAX: usize = 256;

/// As a shell matches: `*` neither crosses a `/` nor matches a leading dot, which hidden and half-written files have.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Reads a file and merges what it includes into it, in the order of the patterns and of the names.
///
/// # Errors
/// Returns the first error, with the file that has it.
pub(super) fn read(path: &Path) -> Result<Node, SettingsError> {
    let mut node =
        parse(path).map_err(|error| error.unwrap_or_else(|error| unreadable(path, &error)))?;
    let Some(include) = node.take(INCLUDE) else {
        return Ok(node);
    };
    let mut included: Vec<PathBuf> = Vec::new();
    for (pattern, origin) in patterns(&include)? {
        let wrong = |message: String| SettingsError::new(INCLUDE, message).at(origin);
        let found = matching(path, pattern).map_err(wrong)?;
        let new = found.into_iter().filter(|found| !included.contains(found));
        let new: Vec<_> = new.collect();
        if included.len() + new.len() > FILES_MAX {
            return Err(wrong(format!("these are more than {FILES_MAX} files")));
        }
        for file in &new {
            node.include(parse_included(file, origin)?);
        }
        included.extend(new);
    }
    Ok(node)
}

/// Returns the patterns with their places.
fn patterns(include: &Node) -> Result<Vec<(&str, &Origin)>, SettingsError> {
    let wrong = |node: &Node| {
        let message = "is a list of files and patterns: write `include = [\"conf.d/*.toml\"]`";
        SettingsError::new(INCLUDE, message).at(&node.origin)
    };
    let Kind::List(items) = &include.kind else {
        return Err(wrong(include));
    };
    let texts = items.iter().map(|item| match &item.kind {
        Kind::Text(pattern) => Ok((pattern.as_str(), &item.origin)),
        _ => Err(wrong(item)),
    });
    texts.collect()
}

/// Returns the files that a pattern in the file at `path` names, relative to that file; itself is left out.
fn matching(path: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let has_wildcard = pattern.contains(['*', '?', '[']);
    let folder = path.parent().unwrap_or(Path::new(""));
    if !has_wildcard {
        let file = folder.join(pattern);
        if file.is_file() {
            return Ok(vec![file]);
        }
        return Err(format!("there is no file `{}`", file.display()));
    }
    let within = if Path::new(pattern).is_absolute() || folder.as_os_str().is_empty() {
        pattern.to_owned()
    } else {
        let folder = folder
            .to_str()
            .ok_or("the name of the folder is not UTF-8")?;
        format!("{}/{pattern}", Pattern::escape(folder))
    };
    let paths = glob::glob_with(&within, OPTIONS)
        .map_err(|error| format!("`{pattern}` is not a pattern: {error}"))?;
    let mut files = Vec::new();
    for found in paths {
        let found = found.map_err(|error| {
            let folder = error.path().display();
            format!("the folder `{folder}` cannot be read: {}", error.error())
        })?;
        if found.is_file() && !is_same(&found, path) {
            files.push(found);
        }
    }
    Ok(files)
}

fn is_same(one: &Path, other: &Path) -> bool {
    let (one, other) = (one.canonicalize(), other.canonicalize());
    one.is_ok_and(|one| other.is_ok_and(|other| one == other))
}

/// Reads an included file; `origin` is the place of its pattern.
fn parse_included(path: &Path, origin: &Origin) -> Result<Node, SettingsError> {
    let node = parse(path);
    let mut node =
        node.map_err(|error| error.unwrap_or_else(|error| unreadable(path, &error).at(origin)))?;
    match node.take(INCLUDE) {
        None => Ok(node),
        Some(include) => {
            let message = "an included file cannot include others";
            Err(SettingsError::new(INCLUDE, message).at(include.key_origin(&include.origin)))
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> SettingsError {
    let message = format!("cannot read the file `{}`: {error}", path.display());
    SettingsError::new("", message)
}

/// Reads one file. An error is that of its content, or of the file itself.
fn parse(path: &Path) -> Result<Node, Result<SettingsError, io::Error>> {
    let bytes = bytes(path).map_err(Err)?;
    let name = path.display().to_string();
    let text = Node::text(bytes, &name).map_err(Ok)?;
    Node::parse(&text, &name).map_err(Ok)
}

/// Reads a file of a bounded size.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_MAX {
        let message = format!("it is larger than {} MiB", SIZE_MAX >> 20);
        return Err(io::Error::other(message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use crate::settings::{Loaded, SettingsErrors, load::load};

    fn load_files(files: &[(&str, &str)]) -> Result<Loaded, SettingsErrors> {
        let folder = tempfile::Builder::new().prefix("a[b").tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let environment = BTreeMap::<String, String>::new();
        load(Some(&folder.path().join("kebne.toml")), &environment)
    }

    const MAIN: &str = "include = ['conf.d/*.toml', 'extra.toml']\n[server]\nworkers = 3\n[[backends]]\nname = 'main'\n";

    #[test]
    fn tables_are_merged_in_order_and_tables_in_lists_are_added() {
        let loaded = load_files(&[
            ("kebne.toml", MAIN),
            (
                "conf.d/20.toml",
                "[server]\nworkers = 5\n[[backends]]\nname = 'b'\n",
            ),
            (
                "conf.d/10.toml",
                "[server]\nworkers = 4\nhosts = ['x']\n[[backends]]\nname = 'a'\n",
            ),
            ("conf.d/.hidden.toml", "not toml"),
            ("conf.d/note.txt", "not toml"),
            ("extra.toml", "[server]\nhosts = ['y']\n"),
        ])
        .unwrap();
        let names: Vec<_> = loaded
            .settings
            .backends
            .iter()
            .map(|one| &one.name)
            .collect();
        assert_eq!(names, ["main", "a", "b"]);
        assert_eq!(loaded.settings.server.workers, 5);
        assert_eq!(loaded.settings.server.hosts, ["y"]);
        let origin = loaded.origins["backends[2].name"].to_string();
        assert!(origin.ends_with("conf.d/20.toml:4:8"), "{origin}");
    }

    #[test]
    fn a_pattern_without_files_and_the_file_itself_are_fine() {
        let text = "include = ['none/*.toml', '*.toml']\n[[backends]]\nname = 'a'\n";
        let loaded = load_files(&[("kebne.toml", text)]).unwrap();
        assert_eq!(loaded.settings.backends.len(), 1);
    }

    #[test]
    fn errors_name_the_file_that_has_them() {
        let fine = "[[backends]]\nname = 'b'\n";
        for (main, included, expected) in [
            (
                MAIN,
                "[server]\nno_such_key = 1\n",
                "conf.d/a.toml:2:1: server.no_such_key: unknown key",
            ),
            (MAIN, "[server\n", "conf.d/a.toml:1:8"),
            (
                MAIN,
                "include = []\n",
                "conf.d/a.toml:1:1: include: an included file",
            ),
            (
                MAIN,
                "[[backends]]\nname = 'main'\n",
                "conf.d/a.toml:2:8: backends[1].name: `main` is used more than once",
            ),
            (
                "include = ['x.toml']\n",
                fine,
                "kebne.toml:1:12: include: there is no file",
            ),
            (
                "include = 'x.toml'\n",
                fine,
                "kebne.toml:1:11: include: is a list",
            ),
            (
                "include = [3]\n",
                fine,
                "kebne.toml:1:12: include: is a list",
            ),
            (
                "include = ['a[']\n",
                fine,
                "kebne.toml:1:12: include: `a[` is not a pattern",
            ),
        ] {
            let files = [
                ("kebne.toml", main),
                ("conf.d/a.toml", included),
                ("extra.toml", ""),
            ];
            let error = load_files(&files).unwrap_err().to_string();
            assert!(error.contains(expected), "`{expected}` is not in `{error}`");
        }
    }
}
