//! Output of commands: columns for people, one JSON document, or one JSON object per line. The printer takes JSON as
//! text, so that payloads keep their digits and their order of keys.

use super::args::Output;
use std::io::{self, BufWriter, IsTerminal, Write};

/// Writes the results of one command.
pub struct Printer {
    form: Output,
    out: Box<dyn Write + Send>,
    /// True while a JSON list is open.
    listing: bool,
}

impl Printer {
    /// Creates a printer to stdout. Without a `form` the output is a table on a terminal and JSON lines in a pipe.
    #[must_use]
    pub fn stdout(form: Option<Output>) -> Self {
        let terminal = io::stdout().is_terminal();
        let form = form.unwrap_or(if terminal { Output::Table } else { Output::Jsonl });
        Self::new(form, Box::new(BufWriter::new(io::stdout())))
    }

    /// Creates a printer to any writer.
    #[must_use]
    pub fn new(form: Output, out: Box<dyn Write + Send>) -> Self {
        Self { form, out, listing: false }
    }

    /// Returns the output format in use.
    #[must_use]
    pub fn form(&self) -> Output {
        self.form
    }

    /// Prints an element of a list of unknown length: a line of text, or JSON.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn item(&mut self, table: impl FnOnce() -> String, json: impl FnOnce() -> String) -> io::Result<()> {
        match self.form {
            Output::Table => writeln!(self.out, "{}", table()),
            Output::Jsonl => writeln!(self.out, "{}", json()),
            Output::Json => {
                self.out.write_all(if self.listing { b",\n" } else { b"[\n" })?;
                self.listing = true;
                self.out.write_all(json().as_bytes())
            }
        }
    }

    /// Prints the single result of a command.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn one(&mut self, table: impl FnOnce() -> String, json: impl FnOnce() -> String) -> io::Result<()> {
        match self.form {
            Output::Table => writeln!(self.out, "{}", table()),
            Output::Json | Output::Jsonl => writeln!(self.out, "{}", json()),
        }
    }

    /// Prints a complete list: aligned columns, a JSON list, or a line per element.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn list(&mut self, header: &[&str], rows: Vec<(Vec<String>, String)>) -> io::Result<()> {
        match self.form {
            Output::Table => {
                let cells: Vec<Vec<String>> = rows.into_iter().map(|(cells, _)| cells).collect();
                self.out.write_all(table(header, &cells).as_bytes())
            }
            Output::Json if rows.is_empty() => writeln!(self.out, "[]"),
            Output::Json | Output::Jsonl => rows.into_iter().try_for_each(|(_, json)| self.item(String::new, || json)),
        }
    }

    /// Writes the buffered output to the underlying writer.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Closes an open JSON list and flushes the output.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.listing {
            self.listing = false;
            self.out.write_all(b"\n]\n")?;
        }
        self.out.flush()
    }
}

/// Text for a fact that the answering node does not know.
pub const UNKNOWN: &str = "-";

/// Formats a number, or [`UNKNOWN`] if the answering node does not know the number.
#[must_use]
pub fn known(number: Option<impl ToString>) -> String {
    number.map_or_else(|| UNKNOWN.to_owned(), |number| number.to_string())
}

/// Aligns columns two spaces apart, without trailing spaces.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(&mut header.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(form: Output, items: &[&str]) -> String {
        let shared = Shared::default();
        let mut printer = Printer::new(form, Box::new(shared.clone()));
        for item in items {
            printer.item(|| format!("t{item}"), || format!("{{\"n\":{item}}}")).unwrap();
        }
        printer.finish().unwrap();
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn each_form_is_well_formed() {
        assert_eq!(shown(Output::Table, &["1", "2"]), "t1\nt2\n");
        assert_eq!(shown(Output::Jsonl, &["1", "2"]), "{\"n\":1}\n{\"n\":2}\n");
        let json: serde_json::Value = serde_json::from_str(&shown(Output::Json, &["1", "2"])).unwrap();
        assert_eq!(json, serde_json::json!([{"n": 1}, {"n": 2}]));
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME  N\na     1\nlong\n");
    }
}
