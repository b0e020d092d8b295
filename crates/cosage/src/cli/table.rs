//! Tables for people: aligned, no wider than the terminal, coloured only there.

use console::{Style, Term, measure_text_width, truncate_str};

use super::foreign::plain;

/// Between two columns.
const GAP: &str = "  ";

/// A column is not cut below this many characters.
const NARROWEST: usize = 8;

/// A table with a head.
pub(super) struct Table<const COLUMNS: usize> {
    head: Option<[&'static str; COLUMNS]>,
    rows: Vec<[Cell; COLUMNS]>,
    /// How wide the widest cell of each column is, also of rows that were rendered before.
    widest: [usize; COLUMNS],
}

/// A text and how it looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: plain(text.as_ref()),
            style: Style::new(),
        }
    }
}

impl Cell {
    /// The same in another look.
    pub(super) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(head: [&'static str; COLUMNS]) -> Self {
        Self {
            widest: head.map(measure_text_width),
            head: Some(head),
            rows: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: [Cell; COLUMNS]) {
        for (widest, cell) in self.widest.iter_mut().zip(&row) {
            *widest = (*widest).max(measure_text_width(&cell.text));
        }
        self.rows.push(row);
    }

    /// The table as wide as its contents, or as the terminal where it is printed to one.
    pub(super) fn render(&self) -> String {
        let terminal = Term::stdout();
        let width = terminal.size_checked().map(|(_, width)| usize::from(width));
        self.render_within(width.filter(|_| terminal.is_term()))
    }

    /// The rows that were pushed since the last call, which are dropped; below the head, the first time.
    pub(super) fn drain(&mut self) -> String {
        let text = self.render();
        self.head = None;
        self.rows.clear();
        text
    }

    fn render_within(&self, limit: Option<usize>) -> String {
        let widths = self.widths(limit);
        let head = self
            .head
            .map(|head| head.map(|name| Cell::from(name).styled(Style::new().bold())));
        head.iter()
            .chain(&self.rows)
            .map(|row| {
                let mut line = String::new();
                for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                    let text = truncate_str(&cell.text, width, "…");
                    line.push_str(&cell.style.apply_to(&text).to_string());
                    if column + 1 < COLUMNS {
                        line.push_str(&" ".repeat(width - measure_text_width(&text)));
                        line.push_str(GAP);
                    }
                }
                format!("{}\n", line.trim_end())
            })
            .collect()
    }

    /// What each column takes: the widest ones give what is too much. The first is never cut,
    /// because it has the names that are typed again.
    fn widths(&self, limit: Option<usize>) -> [usize; COLUMNS] {
        let mut widths = self.widest;
        let Some(limit) = limit else { return widths };
        let room = limit.saturating_sub(GAP.len() * (COLUMNS - 1));
        while widths.iter().sum::<usize>() > room {
            match widths.iter_mut().skip(1).max() {
                Some(widest) if *widest > NARROWEST => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(rows: &[[&str; 3]]) -> Table<3> {
        let mut table = Table::new(["NAME", "WHAT IT IS", "N"]);
        for row in rows {
            table.push(row.map(Cell::from));
        }
        table
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let shown = table(&[["壁紙", "wall", "1"], ["a", "", "22"]]).render_within(None);
        assert_eq!(
            shown,
            "NAME  WHAT IT IS  N\n壁紙  wall        1\na                 22\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_where_there_is_most_and_names_never() {
        let shown = table(&[["0984ae47-6fb", "a rather long text", "1"]]).render_within(Some(28));
        assert_eq!(
            shown,
            "NAME          WHAT IT IS   N\n0984ae47-6fb  a rather l…  1\n"
        );
    }

    #[test]
    fn rows_that_come_later_keep_the_columns_and_have_no_head() {
        let mut table = table(&[["a-long-name", "a", "1"]]);
        assert!(table.drain().starts_with("NAME         WHAT IT IS  N\n"));
        table.push(["b", "", "2"].map(Cell::from));
        assert_eq!(table.drain(), "b                        2\n");
        assert_eq!(table.drain(), "");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            name in "\\PC{0,10}",
            cells in proptest::array::uniform2("\\PC{0,40}"),
            width in 50usize..200,
        ) {
            let row = [name.as_str(), &cells[0], &cells[1]];
            for line in table(&[row]).render_within(Some(width)).lines() {
                prop_assert!(measure_text_width(line) <= width, "{line}");
            }
        }
    }
}
