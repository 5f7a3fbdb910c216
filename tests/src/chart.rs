//! A bar chart of the rows as SVG: ours beside Linux, on a logarithmic scale, with the budget as a mark.

use std::fmt::Write;

use crate::arch::Arch;
use crate::bench::{Figures, ROWS, Unit, group};

const LEFT: f64 = 330.0;
const WIDTH: f64 = 560.0;
const LINE: f64 = 34.0;

/// Draws the rows that count instructions.
pub fn draw(arch: Arch, peer: &str, linux: &Figures, ours: &Figures) -> String {
    let rows: Vec<_> = ROWS.iter().filter(|row| row.unit == Unit::Instructions && row.name != "boot").collect();
    let height = 70.0 + rows.len() as f64 * LINE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{height}\" viewBox=\"0 0 {0} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        LEFT + WIDTH + 90.0
    );
    let title = format!("Instructions per operation, {} (log scale): {peer} grey, Pollux blue, budget |", arch.name());
    let _ = writeln!(svg, "<text x=\"16\" y=\"26\" font-size=\"15\">{title}</text>");
    for (index, row) in rows.iter().enumerate() {
        let top = 46.0 + index as f64 * LINE;
        let _ =
            writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", LEFT - 8.0, top + 17.0, row.title);
        for (figures, offset, colour) in [(linux, 0.0, "#9aa0a6"), (ours, 13.0, "#1a73e8")] {
            match figures.get(row.name) {
                Some(Ok(value)) => {
                    let _ = writeln!(
                        svg,
                        "<rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"11\" fill=\"{colour}\"/>\
                         <text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{}</text>",
                        top + offset,
                        length(*value),
                        LEFT + length(*value) + 4.0,
                        top + offset + 9.5,
                        group(*value)
                    );
                }
                Some(Err(_)) => {
                    let y = top + offset + 9.5;
                    let _ =
                        writeln!(svg, "<text x=\"{LEFT}\" y=\"{y}\" font-size=\"10\" fill=\"#d93025\">failed</text>");
                }
                None => {}
            }
        }
        if let Some(budget) = row.budget {
            let x = LEFT + length(budget);
            let (from, to) = (top - 1.0, top + 26.0);
            let _ = writeln!(svg, "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from}\" y2=\"{to}\" stroke=\"#188038\"/>");
        }
    }
    svg + "</svg>\n"
}

/// From 10 to a million instructions across the width.
fn length(value: u64) -> f64 {
    ((value.max(10) as f64).log10() - 1.0) / 5.0 * WIDTH
}
