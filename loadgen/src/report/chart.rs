//! Line charts as SVG, for a page or as files of their own: drawn here, so that they need no script and no network.

use std::fmt::Write;

/// Size of the drawing, in its own units.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
/// Room for the labels.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 28.0;
/// How a file of its own looks: the page's colours.
const STYLE: &str = concat!(
    "svg{--ink:#1b1f24;--soft:#5d6673;--line:#d9dee5;--tint:#f5f7fa;--c0:#2563eb;--c1:#d97706;--c2:#be185d;--c3:#0f766e;--c4:#6d28d9;",
    "font:12px system-ui,sans-serif}",
    "@media(prefers-color-scheme:dark){svg{--ink:#e6e9ee;--soft:#98a2b0;--line:#333a44;--tint:#1d2127;--c0:#60a5fa;--c1:#fbbf24;",
    "--c2:#f472b6;--c3:#2dd4bf;--c4:#a78bfa}}",
    ".paper{fill:var(--tint)}.title{fill:var(--ink);font-weight:600;font-size:14px}.grid{stroke:var(--line)}",
    ".mark{stroke:var(--soft);stroke-dasharray:3 3}.tick,.name{font-size:11px;fill:var(--soft)}",
    ".line{fill:none;stroke-width:1.8;stroke-linejoin:round}.l0{stroke:var(--c0);fill:var(--c0)}.l1{stroke:var(--c1);fill:var(--c1)}",
    ".l2{stroke:var(--c2);fill:var(--c2)}.l3{stroke:var(--c3);fill:var(--c3)}.l4{stroke:var(--c4);fill:var(--c4)}polyline.line{fill:none}"
);
/// Points of a line at most; more are merged, their largest value stays.
const POINTS_MAX: usize = 800;

/// How values are told and spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero on, evenly.
    Even,
    /// By powers of ten: times, microseconds.
    Powers,
}

/// A line.
#[derive(Debug)]
pub struct Line<'a> {
    /// What it shows.
    pub name: &'a str,
    /// Seconds and values.
    pub points: Vec<(f64, f64)>,
}

/// A chart over the seconds of a run.
#[derive(Debug)]
pub struct Chart<'a> {
    /// What stands above it.
    pub title: &'a str,
    /// How values are spread.
    pub scale: Scale,
    /// How a value is written.
    pub label: fn(f64) -> String,
    /// The lines; five are told apart by colour.
    pub lines: Vec<Line<'a>>,
    /// Where phases begin, seconds, and their names.
    pub marks: Vec<(f64, &'a str)>,
}

impl Chart<'_> {
    /// The chart as a figure of HTML; nothing if there is nothing to draw.
    pub(super) fn figure(&self) -> String {
        let Some(drawing) = self.drawing() else { return String::new() };
        let title = escape(self.title);
        let mut out = format!(
            r#"<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{drawing}</svg><p class="legend">"#
        );
        for (n, (name, most)) in self.legend().enumerate() {
            let _ = write!(out, r#"<span><i class="l{n}"></i>{name} <b>{most}</b> at most</span>"#);
        }
        out + "</p></figure>"
    }

    /// The chart as a file of its own; `None` if there is nothing to draw.
    pub fn svg(&self) -> Option<String> {
        let drawing = self.drawing()?;
        let (title, head, legend) = (escape(self.title), 24.0, 22.0);
        let height = head + HEIGHT + legend;
        let mut out = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}"><style>{STYLE}</style><rect class="paper" width="{WIDTH}" height="{height}" rx="6"/><text class="title" x="12" y="18">{title}</text><g transform="translate(0 {head})">{drawing}</g>"#
        );
        let y = head + HEIGHT + 8.0;
        let width = (WIDTH - LEFT) / self.lines.len() as f64;
        for (n, (name, most)) in self.legend().enumerate() {
            let x = LEFT + n as f64 * width;
            let _ = write!(
                out,
                r#"<rect class="l{n}" x="{x:.1}" y="{:.1}" width="11" height="11" rx="2"/><text class="tick" x="{:.1}" y="{y:.1}">{name}, {most} at most</text>"#,
                y - 10.0,
                x + 16.0
            );
        }
        Some(out + "</svg>\n")
    }

    /// Names of the lines, and the most of each, as HTML.
    fn legend(&self) -> impl Iterator<Item = (String, String)> {
        let most = |line: &Line| line.points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
        self.lines.iter().map(move |line| (escape(line.name), escape(&(self.label)(most(line)))))
    }

    /// What is inside the picture.
    fn drawing(&self) -> Option<String> {
        let values = || self.lines.iter().flat_map(|line| &line.points).filter(|(_, y)| y.is_finite());
        let (last, most) = values().fold((0.0_f64, 0.0_f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
        if last <= 0.0 || most <= 0.0 {
            return None;
        }
        let axis = Axis::of(self.scale, most, values().map(|(_, y)| *y).filter(|y| *y > 0.0).fold(most, f64::min));
        let x = |seconds: f64| LEFT + seconds / last * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| TOP + (1.0 - axis.place(value)) * (HEIGHT - TOP - BOTTOM);
        let mut out = String::new();
        for tick in &axis.ticks {
            let at = y(*tick);
            let right = WIDTH - RIGHT;
            let _ = write!(
                out,
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1}" y2="{at:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 6.0,
                at + 4.0,
                escape(&(self.label)(*tick))
            );
        }
        for seconds in even(last, 8) {
            let _ = write!(
                out,
                r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="middle">{seconds} s</text>"#,
                x(seconds),
                HEIGHT - 8.0
            );
        }
        for (at, name) in &self.marks {
            let (at, name) = (x(at.min(last)), escape(name));
            let bottom = HEIGHT - BOTTOM;
            let _ = write!(
                out,
                r#"<line class="mark" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{bottom}"><title>{name}</title></line><text class="name" x="{:.1}" y="{:.1}">{name}</text>"#,
                at + 3.0,
                TOP + 9.0
            );
        }
        for (n, line) in self.lines.iter().enumerate() {
            let points: Vec<String> = thinned(&line.points)
                .iter()
                .filter(|(_, value)| value.is_finite())
                .map(|(s, value)| format!("{:.1},{:.1}", x(*s), y(*value)))
                .collect();
            let _ = write!(out, r#"<polyline class="line l{n}" points="{}"/>"#, points.join(" "));
        }
        Some(out)
    }
}

struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn of(scale: Scale, most: f64, least: f64) -> Self {
        match scale {
            Scale::Even => {
                let ticks = even(most, 4);
                let high = ticks.last().copied().unwrap_or(most).max(most);
                Self { scale, low: 0.0, high, ticks }
            }
            Scale::Powers => {
                let (low, high) = (least.log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0));
                let ticks = (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect();
                Self { scale, low, high, ticks }
            }
        }
    }

    /// Where a value lies, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Even => value,
            Scale::Powers if value <= 0.0 => self.low,
            Scale::Powers => value.log10(),
        };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// Round values from 0 to `most`, about so many.
fn even(most: f64, about: u32) -> Vec<f64> {
    let rough = most / f64::from(about);
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough).unwrap_or(rough);
    (0..=(most / step).floor() as u32).map(|n| (f64::from(n) * step * 1e6).round() / 1e6).collect()
}

/// So many points that a screen tells them apart.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let each = points.len().div_ceil(POINTS_MAX).max(1);
    let largest = |part: &[(f64, f64)]| part.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    let points: Vec<_> = points.iter().copied().filter(|(_, y)| y.is_finite()).collect();
    points.chunks(each).filter_map(largest).collect()
}

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_what_is_drawn() {
        assert_eq!(even(97.0, 4), [0.0, 50.0]);
        assert_eq!(even(10.0, 8), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let axis = Axis::of(Scale::Powers, 42_000.0, 120.0);
        assert_eq!(axis.ticks, [100.0, 1_000.0, 10_000.0, 100_000.0]);
        assert!((axis.place(100.0), axis.place(100_000.0)) == (0.0, 1.0));
    }

    #[test]
    fn a_peak_survives_when_points_are_merged() {
        let points: Vec<_> = (0..5_000).map(|n| (f64::from(n), if n == 1_234 { 99.0 } else { 1.0 })).collect();
        let thinned = thinned(&points);
        assert!(thinned.len() <= POINTS_MAX && thinned.contains(&(1_234.0, 99.0)));
    }

    #[test]
    fn names_are_text_and_never_markup() {
        let lines = vec![Line { name: "a<b>", points: vec![(0.0, 1.0), (1.0, 2.0)] }];
        let chart = Chart {
            title: "\"t\"",
            scale: Scale::Even,
            label: |v| format!("{v}"),
            lines,
            marks: vec![(0.0, "<script>")],
        };
        let figure = chart.figure();
        assert!(
            figure.contains("a&lt;b&gt;") && figure.contains("&lt;script&gt;") && !figure.contains("<script>"),
            "{figure}"
        );
        let file = chart.svg().unwrap();
        assert!(
            file.starts_with("<svg xmlns=") && file.contains("a&lt;b&gt;, 2 at most") && !file.contains("<script>")
        );
        assert!(Chart { lines: Vec::new(), ..chart }.svg().is_none(), "nothing to draw");
    }
}
