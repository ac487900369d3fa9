//! Lines of columns that align.

use super::{clean, line};
use crate::failure::Failure;
use owo_colors::{OwoColorize, Style};

/// Spaces between columns.
const GAP: usize = 2;

/// One field of a table: text and, where it has one, its colour.
pub(crate) struct Cell {
    text: String,
    style: Option<Style>,
}

impl Cell {
    /// A field in a colour that its words already say.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style: Some(style) }
    }

    /// A state's word: green where all is well, red where it is not, yellow in between.
    pub(crate) fn state(word: &str) -> Self {
        let style = match word {
            "healthy" | "live" | "succeeded" | "ready" => Style::new().green(),
            "crashing" | "crashed" | "failed" => Style::new().red(),
            "starting" | "stopping" | "queued" | "running" | "rolling out" => Style::new().yellow(),
            _ => Style::new(),
        };
        Self::styled(word, style)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), style: None }
    }
}

/// A table under construction.
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these words above its columns; none for a table without them.
    pub(crate) fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|word| Cell::styled(*word, Style::new().dimmed()));
        let head: Vec<_> = head.collect();
        Self { rows: if head.is_empty() { Vec::new() } else { vec![head] } }
    }

    /// Adds a line.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Prints it.
    pub(crate) fn print(self) -> Result<(), Failure> {
        self.lines().into_iter().try_for_each(line)
    }

    fn lines(mut self) -> Vec<String> {
        for cell in self.rows.iter_mut().flatten() {
            cell.text = clean(&cell.text);
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        self.rows.iter().map(|row| joined(row, &widths)).collect()
    }
}

fn joined(row: &[Cell], widths: &[usize]) -> String {
    let mut text = String::new();
    let mut owed = 0;
    for (cell, width) in row.iter().zip(widths).filter(|(_, width)| **width > 0) {
        let length = cell.text.chars().count();
        if length > 0 {
            text += &" ".repeat(owed);
            owed = 0;
            text += &cell.style.map_or_else(|| cell.text.clone(), |style| cell.text.style(style).to_string());
        }
        // Spaces are owed until something follows them, so that no line ends in one.
        owed += width - length + GAP;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_do_not_trail() {
        let mut table = Table::new(&["TOOL", "STATE", "", "URL"]);
        table.row(["weather".into(), "ok".into(), "".into(), "u1".into()]);
        table.row(["é".into(), "crashing".into(), "".into(), "".into()]);
        let plain: Vec<_> =
            table.lines().iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert_eq!(plain, ["TOOL     STATE     URL", "weather  ok        u1", "é        crashing"]);
    }
}
