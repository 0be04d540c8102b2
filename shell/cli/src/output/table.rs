//! Tables for people: columns separated by ` | `, as scripts that read Headscale's tables expect them.

use std::fmt;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use super::plain;

#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// A cell of one or more lines in one style.
#[derive(Debug)]
pub struct Cell {
    lines: Vec<String>,
    style: Style,
}

/// Wider cells are cut, so that one overlong name cannot push the other columns out of sight. JSON and YAML are never cut.
const MAX_COLUMNS: usize = 64;

const HEADER: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();

impl Cell {
    fn new(lines: impl IntoIterator<Item = impl AsRef<str>>, style: Style) -> Cell {
        Cell { lines: lines.into_iter().map(|l| plain::cut(l.as_ref(), MAX_COLUMNS)).collect(), style }
    }

    /// Text in green if `good`, otherwise in red.
    pub fn judged(text: impl AsRef<str>, good: bool) -> Cell {
        Cell::new([text], if good { GOOD } else { BAD })
    }

    /// A list, one item per line.
    pub fn list(items: &[String]) -> Cell {
        Cell::new(items, Style::new())
    }
}

impl<T: fmt::Display> From<T> for Cell {
    fn from(value: T) -> Cell {
        Cell::new([value.to_string()], Style::new())
    }
}

impl Table {
    pub fn new<const N: usize>(header: [&'static str; N]) -> Table {
        Table { header: header.to_vec(), rows: Vec::new() }
    }

    /// Appends a row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|r| r.get(column)).flat_map(|c| &c.lines).map(|l| l.width());
        cells.chain(self.header.get(column).map(|h| h.width())).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.header.len()).map(|c| self.width(c)).collect();
        let header: Vec<(&str, Style)> = self.header.iter().map(|h| (*h, HEADER)).collect();
        line(f, &widths, &header)?;
        for row in &self.rows {
            let height = row.iter().map(|c| c.lines.len()).max().unwrap_or(0).max(1);
            for n in 0..height {
                let cells: Vec<(&str, Style)> =
                    row.iter().map(|c| (c.lines.get(n).map_or("", String::as_str), c.style)).collect();
                line(f, &widths, &cells)?;
            }
        }
        Ok(())
    }
}

/// One line of a table. The last column is not padded.
fn line(f: &mut fmt::Formatter<'_>, widths: &[usize], cells: &[(&str, Style)]) -> fmt::Result {
    for (n, ((text, style), width)) in cells.iter().zip(widths).enumerate() {
        if n > 0 {
            f.write_str(" | ")?;
        }
        write!(f, "{style}{text}{style:#}")?;
        if n + 1 < cells.len() {
            // A width argument in the format string would panic above 65535.
            (text.width()..*width).try_for_each(|_| f.write_str(" "))?;
        }
    }
    f.write_str("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(table: &Table) -> String {
        anstream::adapter::strip_str(&table.to_string()).to_string()
    }

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(["ID", "Name", "Routes"]);
        t.row([1.into(), "日本".into(), Cell::list(&["10.0.0.0/8".into(), "::/0".into()])]);
        t.row([22.into(), Cell::judged("offline", false), "".into()]);
        let expected = "ID | Name    | Routes\n\
                        1  | 日本    | 10.0.0.0/8\n   |         | ::/0\n\
                        22 | offline | \n";
        assert_eq!(bare(&t), expected);
        assert!(t.to_string().contains("\u{1b}[31moffline"));
    }

    #[test]
    fn names_cannot_control_the_terminal() {
        let mut t = Table::new(["Name"]);
        t.row(["\u{1b}[2Jgone\u{7}".into()]);
        assert_eq!(bare(&t), "Name\n\u{fffd}[2Jgone\u{fffd}\n");
    }

    #[test]
    fn cells_never_break_lines_or_exceed_the_maximum_width() {
        let mut t = Table::new(["Name", "Tags", "Online"]);
        let wide = "w".repeat(70_000);
        t.row([
            "a\nb\u{202e}c".into(),
            Cell::list(&["tag:a\n".into(), wide.clone()]),
            Cell::judged(&wide, true),
        ]);
        t.row([wide.into(), Cell::list(&[]), "no".into()]);
        let shown = bare(&t);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 4, "{shown}");
        assert!(
            lines[1].starts_with("a\u{fffd}b\u{fffd}c ") && lines[1].contains("| tag:a\u{fffd} "),
            "{shown}"
        );
        assert!(lines[2].contains(&format!("{}… | ", "w".repeat(63))), "{shown}");
        assert!(lines.iter().all(|l| l.width() <= 3 * 64 + 6), "{shown}");
    }

    #[test]
    fn an_empty_table_still_has_a_header() {
        assert_eq!(bare(&Table::new(["ID", "Name"])), "ID | Name\n");
    }
}
