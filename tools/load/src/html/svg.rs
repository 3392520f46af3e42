//! A chart as SVG: lines, bands and points over two axes. Colours are classes, so that the page's style has them, light and
//! dark.

use std::fmt::Write;

use crate::number::{duration, short};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 44.0;
/// The width of a character of a tick's text, about.
const CHARACTER: f64 = 7.0;

/// How values lie along an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// Linear, from about the least value.
    Near,
    Log,
    /// Percentiles, as far apart as their nines: 90, 99 and 99.9 have the same distance.
    Nines,
}

/// What an axis shows and how its ticks read.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) scale: Scale,
    /// Microseconds, to be read as times; else plain numbers.
    pub(super) is_time: bool,
}

/// What is drawn of a series.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Shape {
    Line(Vec<(f64, f64)>),
    /// A line, and a mark at each of its points.
    Marks(Vec<(f64, f64)>),
    /// Thin, dashed and grey: what is only there to compare with.
    Guide(Vec<(f64, f64)>),
    /// x, from y, to y.
    Band(Vec<(f64, f64, f64)>),
}

impl Shape {
    fn points(&self) -> Vec<(f64, f64)> {
        match self {
            Self::Line(p) | Self::Marks(p) | Self::Guide(p) => p.clone(),
            Self::Band(b) => b
                .iter()
                .flat_map(|(x, low, high)| [(*x, *low), (*x, *high)])
                .collect(),
        }
    }
}

/// A chart. The number of a series is its colour's.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<(usize, Shape)>,
}

/// An axis with its bounds, in what the scale makes of values.
struct Span {
    scale: Scale,
    is_time: bool,
    from: f64,
    to: f64,
}

impl Chart {
    /// The SVG element; nothing if there is nothing to draw.
    pub(super) fn draw(&self) -> Option<String> {
        let points: Vec<(f64, f64)> = self.series.iter().flat_map(|(_, s)| s.points()).collect();
        let x = Span::over(&self.x, points.iter().map(|p| p.0))?;
        let y = Span::over(&self.y, points.iter().map(|p| p.1))?;
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            super::escape(&self.title)
        );
        self.axes(&mut out, &x, &y);
        // What lies behind comes first.
        for (colour, shape) in &self.series {
            if let Shape::Band(_) = shape {
                draw(&mut out, *colour, shape, &x, &y);
            }
        }
        for (colour, shape) in &self.series {
            if !matches!(shape, Shape::Band(_)) {
                draw(&mut out, *colour, shape, &x, &y);
            }
        }
        out.push_str("</svg>");
        Some(out)
    }

    fn axes(&self, out: &mut String, x: &Span, y: &Span) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, text) in y.ticks() {
            let at = y.place(value, bottom, TOP);
            put(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>\n",
                    LEFT - 7.0,
                    at + 4.0
                ),
            );
        }
        // From the right, so that of two that would touch the one that says more stays; none beyond the edge.
        let mut free = WIDTH;
        for (value, text) in x.ticks().into_iter().rev() {
            let at = x.place(value, LEFT, right);
            put(
                out,
                format_args!(
                    "<line class=\"tick\" x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>\n",
                    bottom + 5.0,
                ),
            );
            let half = text.chars().map(|_| CHARACTER / 2.0).sum::<f64>();
            let middle = at.min(WIDTH - half);
            if middle + half <= free {
                free = middle - half - CHARACTER;
                put(
                    out,
                    format_args!(
                        "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>\n",
                        bottom + 19.0
                    ),
                );
            }
        }
        put(
            out,
            format_args!(
                "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>\
                 <text class=\"label\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <text class=\"label\" x=\"4\" y=\"14\">{}</text>\n",
                HEIGHT - 6.0,
                super::escape(&self.x.label),
                super::escape(&self.y.label)
            ),
        );
    }
}

fn draw(out: &mut String, colour: usize, shape: &Shape, x: &Span, y: &Span) {
    let place = |(px, py): (f64, f64)| {
        (
            x.place(px, LEFT, WIDTH - RIGHT),
            y.place(py, HEIGHT - BOTTOM, TOP),
        )
    };
    let path = |points: &mut dyn Iterator<Item = (f64, f64)>| {
        let each = points.map(|p| {
            let (px, py) = place(p);
            format!("{px:.1},{py:.1}")
        });
        each.collect::<Vec<_>>().join(" ")
    };
    match shape {
        Shape::Line(points) | Shape::Marks(points) => {
            put(
                out,
                format_args!(
                    "<polyline class=\"line c{colour}\" points=\"{}\"/>\n",
                    path(&mut points.iter().copied())
                ),
            );
            if let Shape::Marks(_) = shape {
                for p in points {
                    let (px, py) = place(*p);
                    put(
                        out,
                        format_args!(
                            "<circle class=\"mark c{colour}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\"/>\n"
                        ),
                    );
                }
            }
        }
        Shape::Guide(points) => put(
            out,
            format_args!(
                "<polyline class=\"guide\" points=\"{}\"/>\n",
                path(&mut points.iter().copied())
            ),
        ),
        Shape::Band(band) => {
            let there = band.iter().map(|(px, low, _)| (*px, *low));
            let back = band.iter().rev().map(|(px, _, high)| (*px, *high));
            put(
                out,
                format_args!(
                    "<polygon class=\"band c{colour}\" points=\"{}\"/>\n",
                    path(&mut there.chain(back))
                ),
            );
        }
    }
}

impl Span {
    /// From the least to the greatest value, rounded outwards to what has a tick.
    fn over(axis: &Axis, values: impl Iterator<Item = f64>) -> Option<Self> {
        let scale = axis.scale;
        let placed: Vec<f64> = values.filter_map(|v| scaled(scale, v)).collect();
        let low = placed.iter().copied().reduce(f64::min)?;
        let high = placed.iter().copied().reduce(f64::max)?;
        let (from, to) = match scale {
            Scale::Linear => {
                let step = step_of(high.max(f64::MIN_POSITIVE));
                (0.0, (high / step).ceil() * step)
            }
            Scale::Near => {
                let step = step_of((high - low).max(f64::MIN_POSITIVE));
                ((low / step).floor() * step, (high / step).ceil() * step)
            }
            Scale::Log => {
                // A tenth of a decade of air, so that no line lies on the frame.
                let (low, high) = (low - 0.05, high + 0.05);
                if high - low < 1.0 {
                    let middle = f64::midpoint(low, high);
                    (middle - 0.5, middle + 0.5)
                } else {
                    (low, high)
                }
            }
            Scale::Nines => (0.0, high.max(2.0)),
        };
        Some(Self {
            scale,
            is_time: axis.is_time,
            from,
            to,
        })
    }

    fn place(&self, value: f64, at_from: f64, at_to: f64) -> f64 {
        let v = scaled(self.scale, value).unwrap_or(self.from);
        at_from + (v - self.from) / (self.to - self.from) * (at_to - at_from)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let text = |v: f64| if self.is_time { duration(v) } else { short(v) };
        match self.scale {
            Scale::Linear => {
                let step = step_of(self.to);
                (0..=12)
                    .map(|i| f64::from(i) * step)
                    .take_while(|v| *v <= self.to * 1.000_001)
                    .map(|v| (v, text(v)))
                    .collect()
            }
            Scale::Near => {
                let step = step_of(self.to - self.from);
                (0..=12)
                    .map(|i| self.from + f64::from(i) * step)
                    .take_while(|v| *v <= self.to * 1.000_001)
                    .map(|v| (v, text(v)))
                    .collect()
            }
            Scale::Log => {
                let decades = self.to - self.from;
                // All of 1, 2 and 5 where there is room, else 1 alone.
                let of: &[f64] = if decades <= 3.0 {
                    &[1.0, 2.0, 5.0]
                } else {
                    &[1.0]
                };
                (-9..=12)
                    .flat_map(|power| of.iter().map(move |m| m * 10_f64.powi(power)))
                    .filter(|v| (self.from..=self.to).contains(&v.log10()))
                    .map(|v| (v, text(v)))
                    .collect()
            }
            Scale::Nines => [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999]
                .into_iter()
                .filter(|p| scaled(Scale::Nines, *p).is_some_and(|v| v <= self.to + 1e-6))
                .map(|p| (p, format!("{p}%")))
                .collect(),
        }
    }
}

/// What a scale makes of a value; nothing of one that it has no place for.
fn scaled(scale: Scale, value: f64) -> Option<f64> {
    match scale {
        Scale::Linear | Scale::Near => Some(value),
        Scale::Log => (value > 0.0).then(|| value.log10()),
        Scale::Nines => (value < 100.0).then(|| -(1.0 - value / 100.0).log10()),
    }
    .filter(|v| v.is_finite())
}

/// A step of 1, 2 or 5 times a power of ten that makes three to six of `most`.
fn step_of(most: f64) -> f64 {
    let raw = most / 6.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power);
    step.into_iter()
        .find(|s| *s >= raw * 0.999_999)
        .unwrap_or(power)
}

/// A string takes whatever is written to it.
fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis {
            label: "x & y".to_owned(),
            scale,
            is_time: false,
        }
    }

    #[test]
    fn steps_are_round_and_few() {
        for (most, step) in [
            (10.0, 2.0),
            (7.0, 2.0),
            (1_719_000.0, 500_000.0),
            (0.3, 0.05),
            (4.9, 1.0),
        ] {
            assert!(
                (step_of(most) - step).abs() < 1e-9 * step,
                "{most}: {}",
                step_of(most)
            );
            assert!((3.0..=8.0).contains(&(most / step_of(most))));
        }
    }

    #[test]
    fn nines_lie_equally_far_apart() {
        let span = Span::over(&axis(Scale::Nines), [0.0, 99.99].into_iter()).unwrap();
        let at = |p| span.place(p, 0.0, 400.0);
        assert!((at(90.0) - 100.0).abs() < 1e-6 && (at(99.0) - 200.0).abs() < 1e-6);
        let ticks: Vec<_> = span.ticks().into_iter().map(|t| t.1).collect();
        assert_eq!(ticks, ["0%", "50%", "90%", "99%", "99.9%", "99.99%"]);
    }

    #[test]
    fn no_label_touches_another_or_the_edge() {
        let chart = Chart {
            title: String::new(),
            x: axis(Scale::Nines),
            y: axis(Scale::Linear),
            series: vec![(0, Shape::Line(vec![(0.0, 1.0), (99.9999, 2.0)]))],
        };
        let svg = chart.draw().unwrap();
        let mut last = WIDTH;
        for label in [
            "99.9999%", "99.999%", "99.99%", "99.9%", "99%", "90%", "50%",
        ] {
            let before = svg.split(&format!(">{label}<")).next().unwrap();
            let x = before.rsplit("<text x=\"").next().unwrap();
            let x: f64 = x.split('"').next().unwrap().parse().unwrap();
            let half = CHARACTER / 2.0 * f64::from(u8::try_from(label.len()).unwrap());
            assert!(x + half <= last + 0.1, "{label}");
            last = x - half;
        }
        assert!(!svg.contains(">0%<"), "it would touch 50%");
    }

    #[test]
    fn a_near_scale_begins_about_the_least_value() {
        let span = Span::over(&axis(Scale::Near), [205_000.0, 249_000.0].into_iter()).unwrap();
        let ticks: Vec<_> = span.ticks().into_iter().map(|t| t.1).collect();
        assert_eq!(ticks.first().map(String::as_str), Some("200k"));
        assert_eq!(ticks.last().map(String::as_str), Some("250k"));
    }

    #[test]
    fn log_ticks_thin_out() {
        let ticks = |to: f64| {
            let span = Span::over(&axis(Scale::Log), [1.0, to].into_iter()).unwrap();
            span.ticks().into_iter().map(|t| t.1).collect::<Vec<_>>()
        };
        assert_eq!(ticks(100.0), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(ticks(10_000.0), ["1", "10", "100", "1,000", "10k"]);
    }

    #[test]
    fn everything_is_drawn_inside_and_nothing_of_nothing() {
        let chart = |series| Chart {
            title: "a < b".to_owned(),
            x: axis(Scale::Linear),
            y: axis(Scale::Log),
            series,
        };
        assert_eq!(chart(Vec::new()).draw(), None);
        let svg = chart(vec![
            (0, Shape::Line(vec![(0.0, 1.0), (9.0, 1e5), (10.0, 0.0)])),
            (1, Shape::Band(vec![(0.0, 1.0, 2.0), (5.0, 3.0, 4.0)])),
        ])
        .draw()
        .unwrap();
        assert!(svg.contains("a &lt; b") && svg.contains("x &amp; y"));
        assert!(
            svg.find("class=\"band c1\"") < svg.find("class=\"line c0\""),
            "the band lies behind"
        );
        let points = svg
            .split("points=\"")
            .skip(1)
            .flat_map(|p| p.split('"').next());
        for point in points.flat_map(|p| p.split(' ')) {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!(
                (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y),
                "{point}"
            );
        }
    }
}
