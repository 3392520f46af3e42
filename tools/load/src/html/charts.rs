//! A group of rounds as a section: percentile curves, throughput over time, and the sweep where there is one.

use super::{
    data::Group,
    escape, put,
    svg::{Axis, Chart, Scale, Shape},
    words,
};
use crate::number::short;

/// A section of the page; nothing of a group without rounds.
pub(super) fn section(group: &Group, is_suite: bool) -> String {
    if group.rounds.is_empty() {
        return String::new();
    }
    let sides = group.sides();
    let mut out = String::from("<section>\n");
    if is_suite {
        put(
            &mut out,
            format_args!(
                "<h2 id=\"{0}\">{1} <small>{0}</small></h2>\n",
                escape(&group.id),
                escape(&group.title)
            ),
        );
    }
    out.push_str("<div class=\"charts\">\n");
    let charts = [sweep_rates(group, &sides), sweep_latencies(group, &sides)];
    let swept = charts.iter().any(Option::is_some);
    let plain = [percentiles(group, &sides), over_time(group, &sides)];
    // The rounds of a sweep have different loads: their percentiles are in its own charts.
    for (title, chart, keys) in charts
        .into_iter()
        .chain(plain.into_iter().filter(|_| !swept))
        .flatten()
    {
        let Some(svg) = chart.draw() else { continue };
        put(
            &mut out,
            format_args!(
                "<figure>\n<figcaption><b>{}</b>{}</figcaption>\n{svg}\n</figure>\n",
                escape(&title),
                legend(&keys)
            ),
        );
    }
    out.push_str("</div>\n");
    for command in group.commands.iter().filter(|_| is_suite) {
        put(
            &mut out,
            format_args!("<p class=\"command\"><code>{}</code></p>\n", words(command)),
        );
    }
    out.push_str(&rounds(group, &sides));
    out.push_str("</section>\n");
    out
}

/// Colours and what they stand for.
type Keys = Vec<(usize, String)>;

fn legend(keys: &Keys) -> String {
    let each = keys
        .iter()
        .map(|(colour, name)| format!("<span class=\"key c{colour}\">{}</span>", escape(name)));
    each.collect()
}

fn keys(sides: &[&str]) -> Keys {
    sides
        .iter()
        .enumerate()
        .map(|(i, s)| (i, (*s).to_owned()))
        .collect()
}

/// The keys of the sides that a chart shows.
fn keys_of(chart: &Chart, sides: &[&str]) -> Keys {
    let is_drawn = |colour: usize| chart.series.iter().any(|(c, _)| *c == colour);
    let all = keys(sides).into_iter();
    all.filter(|(colour, _)| is_drawn(*colour)).collect()
}

fn axis(label: &str, scale: Scale, is_time: bool) -> Axis {
    Axis {
        label: label.to_owned(),
        scale,
        is_time,
    }
}

type Drawn = Option<(String, Chart, Keys)>;

fn percentiles(group: &Group, sides: &[&str]) -> Drawn {
    let mut series = Vec::new();
    for (i, side) in sides.iter().enumerate() {
        let curve = group.curve(side);
        if curve.len() > 1 {
            if group.of(side).count() > 1 {
                series.push((
                    i,
                    Shape::Band(curve.iter().map(|(p, l)| (*p, l[0], l[2])).collect()),
                ));
            }
            series.push((
                i,
                Shape::Line(curve.iter().map(|(p, l)| (*p, l[1])).collect()),
            ));
        }
    }
    let from = if group.is_open_loop {
        "from the intended send time"
    } else {
        "closed loop: queueing included"
    };
    let title = "Latency by percentile".to_owned();
    let chart = Chart {
        title: title.clone(),
        x: axis("percentile of deliveries", Scale::Nines, false),
        y: axis(
            &format!("latency, {from}; median of the rounds, and their range"),
            Scale::Log,
            true,
        ),
        series,
    };
    let keys = keys_of(&chart, sides);
    (!chart.series.is_empty()).then_some((title, chart, keys))
}

/// Rounds one after another, as they ran: each side has gaps where the other was measured.
fn over_time(group: &Group, sides: &[&str]) -> Drawn {
    let mut series = Vec::new();
    let mut start = 0.0;
    for round in &group.rounds {
        let colour = sides.iter().position(|s| *s == round.side).unwrap_or(0);
        let mut line = Vec::new();
        let mut from = start;
        // A slot is a step: its rate holds from its beginning to its end.
        for (end, rate) in &round.over_time {
            line.extend([(from, *rate), (start + end, *rate)]);
            from = start + end;
        }
        start += round.seconds;
        series.push((colour, Shape::Line(line)));
    }
    let title = "Throughput over time".to_owned();
    let chart = Chart {
        title: title.clone(),
        x: axis(
            "seconds of measurement, rounds in the order in which they ran",
            Scale::Linear,
            false,
        ),
        y: axis("deliveries a second", Scale::Linear, false),
        series,
    };
    Some((title, chart, keys(sides)))
}

fn sweep_rates(group: &Group, sides: &[&str]) -> Drawn {
    let mut series = Vec::new();
    let mut most = 0.0_f64;
    for (i, side) in sides.iter().enumerate() {
        let points: Vec<(f64, f64)> = group.sweep(side, 99.0).iter().map(|p| (p.0, p.1)).collect();
        most = points.iter().map(|p| p.0).fold(most, f64::max);
        if !points.is_empty() {
            series.push((i, Shape::Marks(points)));
        }
    }
    if series.is_empty() {
        return None;
    }
    series.push((
        sides.len(),
        Shape::Guide(vec![(0.0, 0.0), (most, most * group.devices)]),
    ));
    let title = "Goodput by offered load".to_owned();
    let chart = Chart {
        title: title.clone(),
        x: axis("messages offered a second", Scale::Linear, false),
        y: axis("deliveries a second", Scale::Linear, false),
        series,
    };
    let mut keys = keys_of(&chart, sides);
    keys.push((9, "all that is offered".to_owned()));
    Some((title, chart, keys))
}

fn sweep_latencies(group: &Group, sides: &[&str]) -> Drawn {
    let mut series = Vec::new();
    for (i, side) in sides.iter().enumerate() {
        let at = |percentile| -> Vec<(f64, f64)> {
            let points = group.sweep(side, percentile);
            points.iter().filter_map(|p| Some((p.0, p.2?))).collect()
        };
        let (middle, tail) = (at(50.0), at(99.0));
        if !tail.is_empty() {
            let band = middle
                .iter()
                .zip(&tail)
                .map(|(m, t)| (m.0, m.1, t.1))
                .collect();
            series.push((i, Shape::Band(band)));
            series.push((i, Shape::Marks(tail)));
            series.push((i, Shape::Line(middle)));
        }
    }
    let title = "Latency by offered load".to_owned();
    let offers = || {
        let points = series.iter().flat_map(|(_, shape)| match shape {
            Shape::Marks(points) => points.as_slice(),
            Shape::Line(_) | Shape::Guide(_) | Shape::Band(_) => &[],
        });
        points.map(|p| p.0)
    };
    // Where all offers lie close to saturation, the room below them would be most of the chart.
    let scale = match (offers().reduce(f64::min), offers().reduce(f64::max)) {
        (Some(low), Some(high)) if low > high / 2.0 => Scale::Near,
        _ => Scale::Linear,
    };
    let chart = Chart {
        title: title.clone(),
        x: axis("messages offered a second", scale, false),
        y: axis(
            "p50 (line) and p99 (marks) from the intended send time",
            Scale::Log,
            true,
        ),
        series,
    };
    let keys = keys_of(&chart, sides);
    (!chart.series.is_empty()).then_some((title, chart, keys))
}

/// Every round in a table, folded away.
fn rounds(group: &Group, sides: &[&str]) -> String {
    let mut out = format!(
        "<details>\n<summary>{} rounds</summary>\n<table class=\"rounds\">\n<thead><tr><th>round</th><th>side</th>\
         <th class=\"n\">deliveries/s</th><th class=\"n\">p50</th><th class=\"n\">p99</th><th class=\"n\">p99.9</th><th></th></tr></thead>\n<tbody>\n",
        group.rounds.len()
    );
    for (i, round) in group.rounds.iter().enumerate() {
        let colour = sides.iter().position(|s| *s == round.side).unwrap_or(0);
        let at = |p| round.at(p).map(crate::number::duration).unwrap_or_default();
        put(
            &mut out,
            format_args!(
                "<tr><td>{}</td><td><span class=\"key c{colour}\">{}</span></td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
                i + 1,
                escape(&round.side),
                short(round.deliveries_per_s),
                at(50.0),
                at(99.0),
                at(99.9),
                if round.is_disturbed {
                    "disturbed by the machine"
                } else {
                    ""
                }
            ),
        );
    }
    out.push_str("</tbody>\n</table>\n</details>\n");
    out
}
