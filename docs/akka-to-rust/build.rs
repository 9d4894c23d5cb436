//! Turns the API paths that the map names into links and imports, so that rustdoc and the compiler check them.

use std::{collections::BTreeSet, env, fmt::Write, fs, io, path::Path};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=00-map.md");
    let map = fs::read_to_string("00-map.md")?;
    let spans = map.split('`').skip(1).step_by(2);
    let paths: BTreeSet<_> = spans.filter(|span| span.starts_with("kebne_")).collect();
    let mut links = String::from("\n\n## The API that the map names\n\n");
    let mut imports = String::new();
    let mut types = BTreeSet::new();
    for path in paths {
        let _never_fails = writeln!(links, "- [`{path}`]");
        types.insert(importable(path));
    }
    for path in types {
        let _never_fails = writeln!(imports, "use {path} as _;");
    }
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?;
    fs::write(Path::new(&out).join("links.md"), links)?;
    fs::write(Path::new(&out).join("imports.rs"), imports)
}

/// Truncates a path after its first type. The rest is a method or a variant, which only rustdoc can check.
fn importable(path: &str) -> String {
    let mut taken = Vec::new();
    for part in path.split("::") {
        taken.push(part);
        if part.starts_with(char::is_uppercase) {
            break;
        }
    }
    taken.join("::")
}
