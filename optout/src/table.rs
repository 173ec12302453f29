//! Tables for a terminal.

/// The rows as lines, cells below each other: those of the first columns to the left, the others to the right.
pub(crate) fn aligned<const N: usize>(rows: &[[String; N]], left: usize) -> Vec<String> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let width = rows.iter().map(|row| row[column].chars().count()).max();
        width.unwrap_or_default()
    });
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).enumerate();
        let cells: Vec<_> = cells
            .map(|(column, (cell, width))| {
                if column < left {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        cells.join("  ")
    };
    rows.iter().map(line).collect()
}
