//! A drill as a picture.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::DrillReport;

const SIZE: (u32, u32) = (1200, 620);
/// The width of a column, in milliseconds.
const COLUMN: f64 = 50.0;
/// How many moments there is room for.
const MOMENTS: usize = 20;

/// Writes acknowledged in each twentieth of a second, and the first moments as numbered lines with their texts below.
pub(super) fn plot(report: &DrillReport, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut writes = report.writes.clone();
    writes.sort_by(f64::total_cmp);
    // A client that never wrote again has writes before the moments that say why.
    let moments = || report.timeline.iter().map(|moment| f64::from(moment.at_ms));
    let end = writes.iter().copied().chain(moments()).fold(1000.0, f64::max);
    let start = writes.iter().copied().chain(moments()).fold(0.0, f64::min);
    let moments: Vec<_> = report.timeline.iter().take(MOMENTS).collect();
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(350);
    let mut columns = Vec::new();
    let mut left = (start / COLUMN).floor() * COLUMN;
    while left <= end {
        let before = |edge: f64| writes.partition_point(|write| *write < edge);
        columns.push((left / 1000.0, u32::try_from(before(left + COLUMN) - before(left))?));
        left += COLUMN;
    }
    let most = columns.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1);
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
    chart.draw_series(columns.iter().filter(|(_, count)| *count > 0).map(|(left, count)| {
        Rectangle::new([(*left, 0), (left + COLUMN / 1000.0, *count)], BLUE.mix(0.5).filled())
    }))?;
    for (number, moment) in moments.iter().enumerate() {
        let at = moment.seconds();
        chart.draw_series([PathElement::new([(at, 0), (at, most)], RED.mix(0.6))])?;
        let above = most + u32::try_from(number % 3)? * (most / 15 + 1);
        chart.draw_series([Text::new((number + 1).to_string(), (at, above), ("sans-serif", 11))])?;
    }
    for (number, moment) in moments.iter().enumerate() {
        let (column, row) = (number / 10, number % 10);
        let text = format!("{:>2}  {:+.3} s  {}: {}", number + 1, moment.seconds(), moment.who, moment.what);
        let text: String = text.chars().take(95).collect();
        let place = (15 + 590 * i32::try_from(column)?, 12 + 24 * i32::try_from(row)?);
        lower.draw(&Text::new(text, place, ("sans-serif", 12)))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Moment};
    use super::*;

    #[test]
    fn a_picture_has_all_writes_and_all_moments() {
        let moment = |at_ms, what: &str| Moment { at_ms, who: "drill".to_owned(), what: what.to_owned() };
        let mut report = DrillReport {
            fault: Fault::MasterKilled,
            tenant: "acme".to_owned(),
            outage_ms: 1500.0,
            acknowledged: 2,
            lost: 0,
            errors: 1,
            others_disturbed: Vec::new(),
            failovers: 1,
            timeline: vec![moment(1, "first"), moment(9000, "long after the last write")],
            writes: vec![-60.0, -10.0, -9.0, 1490.0],
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drill.svg");
        report.plot(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for expected in ["outage 1.50 s", "first", "+9.000 s  drill: long after"] {
            assert!(text.contains(expected), "{expected}");
        }
        // The columns of -60, of -10 and -9 together, and of 1490, beside the backgrounds.
        let columns = text.matches(r#"opacity="0.5""#).count();
        assert_eq!(columns, 3, "{text}");
        (report.writes, report.timeline) = (Vec::new(), Vec::new());
        report.plot(&path).unwrap();
    }
}
