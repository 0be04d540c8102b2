//! Tables for people: columns separated by ` | `, as scripts that read Headscale's tables expect them.

use std::fmt;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

/// A table with a header.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// A cell: text, which may have several lines, and how it looks.
#[derive(Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

const HEADER: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();

impl Cell {
    /// Text in green or in red.
    pub fn judged(text: impl Into<String>, good: bool) -> Cell {
        Cell { text: text.into(), style: if good { GOOD } else { BAD } }
    }
}

impl<T: fmt::Display> From<T> for Cell {
    fn from(value: T) -> Cell {
        Cell { text: value.to_string(), style: Style::new() }
    }
}

impl Table {
    /// An empty table.
    pub fn new<const N: usize>(header: [&'static str; N]) -> Table {
        Table { header: header.to_vec(), rows: Vec::new() }
    }

    /// The table with one more row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self
            .rows
            .iter()
            .filter_map(|r| r.get(column))
            .flat_map(|c| c.text.lines())
            .map(UnicodeWidthStr::width);
        cells.chain(self.header.get(column).map(|h| h.width())).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.header.len()).map(|c| self.width(c)).collect();
        let header: Vec<(&str, Style)> = self.header.iter().map(|h| (*h, HEADER)).collect();
        line(f, &widths, &header)?;
        for row in &self.rows {
            let height = row.iter().map(|c| c.text.lines().count()).max().unwrap_or(0).max(1);
            for n in 0..height {
                let cells: Vec<(&str, Style)> =
                    row.iter().map(|c| (c.text.lines().nth(n).unwrap_or_default(), c.style)).collect();
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
        write!(f, "{style}{}{style:#}", Plain(text))?;
        if n + 1 < cells.len() {
            write!(f, "{:1$}", "", width.saturating_sub(text.width()))?;
        }
    }
    f.write_str("\n")
}

/// Text of strangers (host names) without the characters that steer a terminal.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { '\u{fffd}' } else { c }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(table: &Table) -> String {
        anstream::adapter::strip_str(&table.to_string()).to_string()
    }

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(["ID", "Name", "Routes"]);
        t.row([1.into(), "日本".into(), "10.0.0.0/8\n::/0".into()]);
        t.row([22.into(), Cell::judged("offline", false), "".into()]);
        let expected = "ID | Name    | Routes\n\
                        1  | 日本    | 10.0.0.0/8\n   |         | ::/0\n\
                        22 | offline | \n";
        assert_eq!(plain(&t), expected);
        assert!(t.to_string().contains("\u{1b}[31moffline"));
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let mut t = Table::new(["Name"]);
        t.row(["\u{1b}[2Jgone\u{7}".into()]);
        assert_eq!(plain(&t), "Name\n\u{fffd}[2Jgone\u{fffd}\n");
    }

    #[test]
    fn an_empty_table_has_a_header() {
        assert_eq!(plain(&Table::new(["ID", "Name"])), "ID | Name\n");
    }
}
