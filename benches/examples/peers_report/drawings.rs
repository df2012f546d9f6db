//! Bars and lines as SVG, without a library: rectangles, polylines and text.

use std::fmt::Write as _;

use crate::figures::shown;

/// One bar.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) label: String,
    pub(crate) is_ours: bool,
}

/// Bars that are compared with each other, on a scale of their own.
pub(crate) struct Group {
    pub(crate) title: String,
    pub(crate) bars: Vec<Bar>,
}

/// One line.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) is_ours: bool,
}

const WIDTH: f64 = 760.0;
const OURS: &str = "#0b6e4f";
const THEIRS: [&str; 4] = ["#8a94a6", "#b07d3c", "#6a5acd", "#c0504d"];
const OTHER_OURS: [&str; 3] = [OURS, "#3aa17e", "#86c5a4"];

fn opening(height: f64, title: &str, says: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"17\" font-weight=\"600\">{}</text>\n\
         <text x=\"{}\" y=\"26\" text-anchor=\"end\" fill=\"#777\">{}</text>\n",
        escaped(title),
        WIDTH - 16.0,
        escaped(says)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Horizontal bars; a factor behind a value says how many times better ours is.
pub(crate) fn bars(title: &str, says: &str, groups: &[Group]) -> String {
    const LEFT: f64 = 190.0;
    const ROOM: f64 = WIDTH - LEFT - 150.0;
    const STEP: f64 = 24.0;
    let mut body = String::new();
    let mut top = 44.0;
    for group in groups.iter().filter(|group| !group.bars.is_empty()) {
        if !group.title.is_empty() {
            let _ = writeln!(
                body,
                "<text x=\"16\" y=\"{:.0}\" font-weight=\"600\">{}</text>",
                top + 16.0,
                escaped(&group.title)
            );
            top += STEP;
        }
        let most = group
            .bars
            .iter()
            .map(|bar| bar.value)
            .fold(f64::MIN_POSITIVE, f64::max);
        for bar in &group.bars {
            let (colour, weight) = if bar.is_ours {
                (OURS, 600)
            } else {
                (THEIRS[0], 400)
            };
            let _ = writeln!(
                body,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" font-weight=\"{weight}\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{:.0}\" width=\"{:.1}\" height=\"17\" rx=\"2\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\" font-weight=\"{weight}\" xml:space=\"preserve\">{}</text>",
                LEFT - 8.0,
                top + 14.0,
                escaped(&bar.name),
                top + 1.0,
                (bar.value / most * ROOM).max(1.0),
                LEFT + bar.value / most * ROOM + 8.0,
                top + 14.0,
                escaped(&bar.label)
            );
            top += STEP;
        }
        top += 10.0;
    }
    format!("{}{body}</svg>\n", opening(top + 8.0, title, says))
}

/// A plane with logarithmic axes of what is in it.
struct Plane {
    x: (f64, f64),
    y: (f64, f64),
}

impl Plane {
    const LEFT: f64 = 80.0;
    const RIGHT: f64 = 540.0;
    const TOP: f64 = 50.0;
    const BOTTOM: f64 = 300.0;

    fn of(lines: &[Line]) -> Self {
        let range = |values: Vec<f64>| {
            let least = values.iter().copied().fold(f64::MAX, f64::min).log10();
            let most = values
                .iter()
                .copied()
                .fold(f64::MIN_POSITIVE, f64::max)
                .log10();
            (least, most)
        };
        let points = || lines.iter().flat_map(|line| &line.points);
        let (least, most) = range(points().map(|point| point.1).collect());
        Self {
            x: range(points().map(|point| point.0).collect()),
            y: (least.floor(), most.ceil().max(least.floor() + 1.0)),
        }
    }

    fn across(&self, value: f64) -> f64 {
        let width = (self.x.1 - self.x.0).max(0.1);
        Self::LEFT + (value.log10() - self.x.0) / width * (Self::RIGHT - Self::LEFT)
    }

    fn down(&self, value: f64) -> f64 {
        Self::BOTTOM
            - (value.log10() - self.y.0) / (self.y.1 - self.y.0) * (Self::BOTTOM - Self::TOP)
    }

    fn grid(&self, sizes: &[f64], below: &str) -> String {
        let mut text = String::new();
        let mut power = self.y.0;
        while power <= self.y.1 {
            let (value, at) = (10_f64.powf(power), self.down(10_f64.powf(power)));
            let _ = writeln!(
                text,
                "<line x1=\"{}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                Self::LEFT,
                Self::RIGHT,
                Self::LEFT - 8.0,
                at + 4.0,
                shown(value, "s").replace(".00", "").replace(".0", "")
            );
            power += 1.0;
        }
        for size in sizes {
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{size}</text>",
                self.across(*size),
                Self::BOTTOM + 20.0
            );
        }
        let middle = f64::midpoint(Self::LEFT, Self::RIGHT);
        let _ = writeln!(
            text,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#777\">{}</text>",
            Self::BOTTOM + 42.0,
            escaped(below)
        );
        text
    }
}

/// Lines over sizes, both axes logarithmic.
pub(crate) fn lines(title: &str, below: &str, lines: &[Line]) -> String {
    let plane = Plane::of(lines);
    let mut sizes: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.0))
        .collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let mut text = opening(Plane::BOTTOM + 60.0, title, "lower is better");
    text.push_str(&plane.grid(&sizes, below));
    let (mut ours, mut theirs) = (OTHER_OURS.iter().cycle(), THEIRS.iter().cycle());
    let mut names: Vec<(f64, String)> = Vec::new();
    for line in lines {
        let colour = if line.is_ours {
            ours.next()
        } else {
            theirs.next()
        }
        .copied()
        .unwrap_or(OURS);
        let points: Vec<String> = line
            .points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", plane.across(*x), plane.down(*y)))
            .collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
            points.join(" ")
        );
        for (x, y) in &line.points {
            let _ = writeln!(
                text,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                plane.across(*x),
                plane.down(*y)
            );
        }
        if let Some((_, last)) = line.points.last() {
            let label = format!(
                "fill=\"{colour}\" font-weight=\"600\">{}: {}</text>",
                escaped(&line.name),
                shown(*last, "s")
            );
            names.push((plane.down(*last), label));
        }
    }
    text.push_str(&beside(names));
    text.push_str("</svg>\n");
    text
}

/// The names at the ends of the lines, moved apart where they would lie on each other.
fn beside(mut names: Vec<(f64, String)>) -> String {
    names.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut text = String::new();
    let mut free = 0.0_f64;
    for (at, label) in names {
        let at = at.max(free);
        free = at + 18.0;
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{:.1}\" {label}",
            Plane::RIGHT + 12.0,
            at + 4.0
        );
    }
    text
}
