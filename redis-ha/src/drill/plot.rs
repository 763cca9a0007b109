//! A drill as a picture.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use plotters::prelude::*;

use super::DrillReport;

const WIDTH: u32 = 1200;
/// The height of the upper part, with the writes.
const UPPER: u32 = 350;
/// The width of a column, in milliseconds.
const COLUMN: f64 = 50.0;
/// The lower part: so many columns of moments, in lines so high, each at most so many characters long.
const COLUMNS: usize = 2;
const LINE: u32 = 24;
const TEXT: usize = 95;
/// At how many heights the moments' numbers are, so that those of one second can be read.
const HEIGHTS: u32 = 5;

/// Whether a picture can be written there; writes nothing, and leaves no file that was not there.
pub(super) fn check(path: &Path) -> io::Result<()> {
    // Who opens a FIFO that nobody reads would wait.
    let open = |options: &mut fs::OpenOptions| options.custom_flags(nix::libc::O_NONBLOCK).open(path);
    match open(File::options().write(true).create_new(true)) {
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            open(File::options().write(true)).map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Writes acknowledged in each twentieth of a second, and all moments as numbered lines with their texts below.
pub(super) fn plot(report: &DrillReport, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut writes = report.writes.clone();
    writes.sort_by(f64::total_cmp);
    // A client that never wrote again has writes before the moments that say why.
    let moments = || report.timeline.iter().map(|moment| f64::from(moment.at_ms));
    let end = writes.iter().copied().chain(moments()).fold(1000.0, f64::max);
    let start = writes.iter().copied().chain(moments()).fold(0.0, f64::min);
    let moments = &report.timeline;
    let rows = moments.len().div_ceil(COLUMNS).max(1);
    let size = (WIDTH, UPPER + LINE * (u32::try_from(rows)? + 1));
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(UPPER);
    let mut columns = Vec::new();
    let mut left = (start / COLUMN).floor() * COLUMN;
    while left <= end {
        let before = |edge: f64| writes.partition_point(|write| *write < edge);
        columns.push((left / 1000.0, u32::try_from(before(left + COLUMN) - before(left))?));
        left += COLUMN;
    }
    let most = columns.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1);
    let step = most / 15 + 1;
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
        .build_cartesian_2d(start / 1000.0..end / 1000.0, 0..most + HEIGHTS * step)?;
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
        let above = most + u32::try_from(number)? % HEIGHTS * step;
        chart.draw_series([Text::new((number + 1).to_string(), (at, above), ("sans-serif", 11))])?;
    }
    for (number, moment) in moments.iter().enumerate() {
        let (column, row) = (number / rows, number % rows);
        let text = format!("{:>2}  {:+.3} s  {}: {}", number + 1, moment.seconds(), moment.who, moment.what);
        let place = (15 + 590 * i32::try_from(column)?, 12 + i32::try_from(LINE)? * i32::try_from(row)?);
        lower.draw(&Text::new(shortened(text), place, ("sans-serif", 12)))?;
    }
    area.present()?;
    Ok(())
}

/// What there is room for.
fn shortened(text: String) -> String {
    match text.char_indices().nth(TEXT) {
        Some(_) => text.chars().take(TEXT - 1).chain(['…']).collect(),
        None => text,
    }
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
            others_disturbed: None,
            others_gap_ms: None,
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
        // As many as drills of whole clusters have, and none below the picture's end.
        for count in [1, 2, 21, 67] {
            report.timeline = (0..count).map(|at| moment(at * 10, &format!("moment {at} of many"))).collect();
            report.plot(&path).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            for at in 0..count {
                assert!(text.contains(&format!("drill: moment {at} of many")), "{at} of {count}");
            }
            let height = number(&text, "height");
            let lowest = text.lines().filter(|line| line.starts_with("<text")).map(|line| number(line, "y"));
            assert!(lowest.max().unwrap() < height, "{text}");
        }
        report.timeline = vec![moment(1, &"ä".repeat(200))];
        report.plot(&path).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("ä…"));
    }

    /// The first attribute of that name.
    fn number(text: &str, name: &str) -> u32 {
        let (_, rest) = text.split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    }

    #[test]
    fn where_no_picture_can_be_is_seen_before_it_is_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        check(&at("new.svg")).unwrap();
        assert!(!at("new.svg").exists(), "a check leaves a file");
        fs::write(at("old.svg"), "kept").unwrap();
        check(&at("old.svg")).unwrap();
        assert_eq!(fs::read_to_string(at("old.svg")).unwrap(), "kept");
        let why = |path: &Path| DrillReport::can_plot(path).unwrap_err().to_string();
        assert!(why(dir.path()).ends_with("it is a directory; name a file in it"), "{}", why(dir.path()));
        assert!(why(&at("no/x.svg")).contains("is not there; make it, or name another"));
        assert!(why(&at("old.svg/x.svg")).contains("Not a directory"), "{}", why(&at("old.svg/x.svg")));
        assert!(DrillReport::can_plot(Path::new("")).is_err());
    }
}
