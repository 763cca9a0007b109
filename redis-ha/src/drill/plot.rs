//! A drill as a picture.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::DrillReport;

const SIZE: (u32, u32) = (1200, 620);
/// The width of a column, in milliseconds.
const COLUMN: f64 = 50.0;

/// Writes acknowledged in each twentieth of a second, and the moments as numbered lines with their texts below.
pub(super) fn plot(report: &DrillReport, path: &Path) -> Result<(), Box<dyn Error>> {
    let end = report.writes.iter().copied().fold(1000.0, f64::max);
    let start = report.writes.iter().copied().fold(0.0, f64::min);
    let moments: Vec<_> = report
        .timeline
        .iter()
        .filter(|moment| (start..=end).contains(&(moment.at_ms as f64)))
        .take(20)
        .collect();
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(350);
    let mut columns = std::collections::BTreeMap::new();
    for write in &report.writes {
        *columns.entry((write / COLUMN).floor() as i64).or_insert(0_u32) += 1;
    }
    let most = columns.values().copied().max().unwrap_or(1);
    let title = format!(
        "{} of {}: outage {:.2} s, acknowledged {}, lost {}",
        report.fault,
        report.tenant,
        report.outage_ms / 1000.0,
        report.acknowledged,
        report.lost
    );
    let mut chart = ChartBuilder::on(&upper)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(45)
        .build_cartesian_2d(start / 1000.0..end / 1000.0, 0..most + most / 5 + 1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("seconds from the fault")
        .y_desc("acknowledged writes in 50 ms")
        .draw()?;
    chart.draw_series(columns.iter().map(|(column, count)| {
        let left = *column as f64 * COLUMN / 1000.0;
        Rectangle::new([(left, 0), (left + COLUMN / 1000.0, *count)], BLUE.mix(0.5).filled())
    }))?;
    for (number, moment) in moments.iter().enumerate() {
        let at = moment.at_ms as f64 / 1000.0;
        chart.draw_series([PathElement::new([(at, 0), (at, most)], RED.mix(0.6))])?;
        let above = most + (number as u32 % 3) * (most / 15 + 1);
        chart.draw_series([Text::new((number + 1).to_string(), (at, above), ("sans-serif", 11))])?;
    }
    for (number, moment) in moments.iter().enumerate() {
        let (column, row) = (number / 10, number % 10);
        let text = format!(
            "{:>2}  {:+.3} s  {}: {}",
            number + 1,
            moment.at_ms as f64 / 1000.0,
            moment.who,
            moment.what
        );
        let text: String = text.chars().take(95).collect();
        let place = (15 + 590 * i32::try_from(column)?, 12 + 24 * i32::try_from(row)?);
        lower.draw(&Text::new(text, place, ("sans-serif", 12)))?;
    }
    area.present()?;
    Ok(())
}
