//! `kebne events`: prints the reference of the events, or writes their schemas.

use std::{io::Write, path::Path};

use kebne_events::TYPES;

use crate::cli::CommandError;

/// Prints the reference as tables in Markdown, or writes one JSON schema for each type into a folder.
///
/// # Errors
/// The output or the folder cannot be written.
pub fn run(schemas: Option<&Path>, output: &mut dyn Write) -> Result<(), CommandError> {
    let Some(folder) = schemas else {
        write!(output, "{}", kebne_events::reference())?;
        return Ok(());
    };
    std::fs::create_dir_all(folder)?;
    for kind in TYPES {
        let path = folder.join(format!("{}.json", kind.name()));
        let schema = kind.schema();
        std::fs::write(path, format!("{schema:#}\n"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_page_and_the_schemas_in_the_documentation_are_those_of_the_program() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let page = docs.join("events.md");
        let text = fs::read_to_string(&page).unwrap();
        let (head, _) = text.split_once("### `kebne.").unwrap();
        let expected = format!("{head}{}", kebne_events::reference());
        let writes = std::env::var_os("KEBNE_WRITE_REFERENCE").is_some();
        if writes {
            fs::write(&page, &expected).unwrap();
            run(Some(&docs.join("events")), &mut Vec::new()).unwrap();
        }
        assert!(
            text == expected || writes,
            "run with KEBNE_WRITE_REFERENCE=1"
        );
        let folder = tempfile::tempdir().unwrap();
        run(Some(folder.path()), &mut Vec::new()).unwrap();
        let names = |folder: &Path| {
            let files = fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let shown = docs.join("events");
        assert_eq!(names(folder.path()), names(&shown));
        for name in names(&shown) {
            let [written, shown] =
                [folder.path(), &shown].map(|folder| fs::read(folder.join(&name)).unwrap());
            assert!(written == shown, "{}", name.display());
        }
    }
}
