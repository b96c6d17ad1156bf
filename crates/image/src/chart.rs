use crate::axis::Axis;
use crate::font::{HEIGHT, draw_text, text_width};
use crate::raster::RgbImage;

/// One curve of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend; ASCII. Without a name it is not in the legend.
    pub label: String,
    /// Its points `(x, y)`, joined in this order. Points that are not finite, or not above 0 on a logarithmic axis,
    /// leave a gap.
    pub points: Vec<(f64, f64)>,
}

/// How a chart looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartOptions {
    /// Line above the plot; ASCII.
    pub title: String,
    /// Line below the x axis; ASCII, may be empty.
    pub x_label: String,
    /// Width in pixels; kept within 200 and 8192.
    pub width: u32,
    /// Height in pixels; kept within 150 and 8192.
    pub height: u32,
    /// Whether the y axis is logarithmic.
    pub log_y: bool,
}

impl Default for ChartOptions {
    fn default() -> Self {
        Self { title: String::new(), x_label: String::new(), width: 960, height: 540, log_y: false }
    }
}

const PAPER: [u8; 3] = [255, 255, 255];
const INK: [u8; 3] = [38, 38, 42];
const GRID: [u8; 3] = [228, 228, 232];

/// Okabe and Ito's colours (2008), told apart by colour-blind readers too.
const COLOURS: [[u8; 3]; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233], [90, 90, 90]];

/// Curves over common axes, with ticks, grid lines and a legend.
#[must_use]
pub fn line_chart(series: &[Series], options: &ChartOptions) -> RgbImage {
    let (width, height) = (options.width.clamp(200, 8192), options.height.clamp(150, 8192));
    let text_scale = (width.min(height) / 480 + 1).clamp(1, 6);
    let mut picture = RgbImage::filled(width, height, PAPER);
    let points = || series.iter().flat_map(|one| one.points.iter().copied());
    let x_axis = Axis::new(points().map(|(x, _)| x), false, 0.0);
    let y_axis = Axis::new(points().map(|(_, y)| y), options.log_y, 0.04);
    let line = i64::from(HEIGHT * text_scale);
    let x_ticks = x_axis.ticks(width as usize / (70 * text_scale as usize));
    let y_ticks = y_axis.ticks(height as usize / (35 * text_scale as usize));
    let label_width = y_ticks.iter().map(|tick| text_width(&tick.label, text_scale)).max().unwrap_or(0);
    let below = if options.x_label.is_empty() { 0 } else { line * 2 };
    let above = if options.title.is_empty() { line } else { line * 3 };
    let plot = Plot {
        left: (label_width + line * 2).min(i64::from(width) / 2),
        top: above,
        right: i64::from(width) - line * 2,
        bottom: i64::from(height) - line * 3 - below,
    };

    for tick in &y_ticks {
        let y = plot.y(tick.position).round() as i64;
        fill(&mut picture, plot.left, y, plot.right, y + 1, GRID);
        let x = plot.left - line / 2 - text_width(&tick.label, text_scale);
        draw_text(&mut picture, &tick.label, x, y - line / 2, text_scale, INK);
    }
    for tick in &x_ticks {
        let x = plot.x(tick.position).round() as i64;
        fill(&mut picture, x, plot.top, x + 1, plot.bottom, GRID);
        let half = text_width(&tick.label, text_scale) / 2;
        draw_text(&mut picture, &tick.label, x - half, plot.bottom + line / 2 + 2, text_scale, INK);
    }
    for (one, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let points = one.points.iter().map(|&(x, y)| Some((plot.x(x_axis.position(x)?), plot.y(y_axis.position(y)?))));
        draw_curve(&mut picture, points, 0.75 + 0.5 * f64::from(text_scale), *colour);
    }
    let thick = i64::from(text_scale);
    fill(&mut picture, plot.left - thick, plot.top, plot.left, plot.bottom + thick, INK);
    fill(&mut picture, plot.left - thick, plot.bottom, plot.right, plot.bottom + thick, INK);

    let middle = |text: &str| (plot.left + plot.right - text_width(text, text_scale)) / 2;
    draw_text(&mut picture, &options.title, middle(&options.title), line, text_scale, INK);
    draw_text(&mut picture, &options.x_label, middle(&options.x_label), plot.bottom + line * 5 / 2, text_scale, INK);
    draw_legend(&mut picture, series, &plot, text_scale);
    picture
}

/// The rectangle that the axes enclose, in pixels.
struct Plot {
    left: i64,
    top: i64,
    right: i64,
    bottom: i64,
}

impl Plot {
    fn x(&self, position: f64) -> f64 {
        self.left as f64 + position * (self.right - self.left) as f64
    }

    fn y(&self, position: f64) -> f64 {
        self.bottom as f64 - position * (self.bottom - self.top) as f64
    }
}

/// Names of the curves in the upper right corner, where falling curves are not.
fn draw_legend(picture: &mut RgbImage, series: &[Series], plot: &Plot, scale: u32) {
    let line = i64::from(HEIGHT * scale);
    let named = || series.iter().zip(COLOURS.iter().cycle()).filter(|(one, _)| !one.label.is_empty());
    let Some(widest) = named().map(|(one, _)| text_width(&one.label, scale)).max() else {
        return;
    };
    let left = plot.right - widest - line * 5;
    let bottom = plot.top + line + named().count() as i64 * line * 2;
    fill(picture, left, plot.top + line / 2, plot.right - line / 2, bottom + line / 2, GRID);
    fill(picture, left + 1, plot.top + line / 2 + 1, plot.right - line / 2 - 1, bottom + line / 2 - 1, PAPER);
    for ((one, colour), i) in named().zip(0..) {
        let y = plot.top + line * 3 / 2 + i * line * 2;
        let thick = i64::from(scale);
        fill(picture, left + line, y + line / 2 - thick, left + line * 3, y + line / 2 + thick, *colour);
        draw_text(picture, &one.label, left + line * 4, y, scale, INK);
    }
}

/// Fills the columns from `left` to before `right` and the rows from `top` to before `bottom`.
fn fill(picture: &mut RgbImage, left: i64, top: i64, right: i64, bottom: i64, rgb: [u8; 3]) {
    let within = |value: i64, side: u32| value.clamp(0, i64::from(side)) as u32;
    for y in within(top, picture.height())..within(bottom, picture.height()) {
        for x in within(left, picture.width())..within(right, picture.width()) {
            picture.set_pixel(x, y, rgb);
        }
    }
}

/// Draws a smooth line of `width` pixels through points given in pixels; `None` leaves a gap.
fn draw_curve(picture: &mut RgbImage, points: impl Iterator<Item = Option<(f64, f64)>>, width: f64, rgb: [u8; 3]) {
    let (columns, rows) = (picture.width() as usize, picture.height() as usize);
    // The largest share of each pixel that a piece of the curve covers: pieces that meet must not add up.
    let mut covered = vec![0u8; columns * rows];
    let mut previous = None;
    for point in points {
        if let Some(to) = point {
            let from = previous.unwrap_or(to);
            for_pixels_near(from, to, width, |x, y, share| {
                if x < columns
                    && let Some(pixel) = covered.get_mut(y * columns + x)
                {
                    *pixel = (*pixel).max((share * 255.0).round() as u8);
                }
            });
        }
        previous = point;
    }
    for (pixel, &share) in picture.data_mut().chunks_exact_mut(3).zip(&covered) {
        for (value, &colour) in pixel.iter_mut().zip(&rgb) {
            let mixed = u32::from(*value) * u32::from(255 - share) + u32::from(colour) * u32::from(share);
            *value = ((mixed + 127) / 255) as u8;
        }
    }
}

/// Calls `visit(x, y, share)` for the pixels that a piece of line of `width` pixels with round ends covers.
fn for_pixels_near(from: (f64, f64), to: (f64, f64), width: f64, mut visit: impl FnMut(usize, usize, f64)) {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let steep = dy.abs() > dx.abs();
    // Along the longer direction, and at each step across it: time grows with the length, not with the area.
    let swap = |(x, y): (f64, f64)| if steep { (y, x) } else { (x, y) };
    let ((a, b), (c, d)) = (swap(from), swap(to));
    let reach = width / 2.0 + 1.0;
    let slope = if c == a { 0.0 } else { (d - b) / (c - a) };
    for along in (a.min(c) - reach).floor().max(0.0) as usize..=(a.max(c) + reach).ceil().max(0.0) as usize {
        let centre = b + slope * ((along as f64).clamp(a.min(c), a.max(c)) - a);
        // A slope of at most 1 makes the line at most the square root of 2 wider across.
        let across = reach * std::f64::consts::SQRT_2;
        for other in (centre - across).floor().max(0.0) as usize..=(centre + across).ceil().max(0.0) as usize {
            let (x, y) = swap((along as f64, other as f64));
            let length = dx * dx + dy * dy;
            let t = if length == 0.0 { 0.0 } else { ((x - from.0) * dx + (y - from.1) * dy) / length };
            let t = t.clamp(0.0, 1.0);
            let distance = (x - from.0 - t * dx).hypot(y - from.1 - t * dy);
            let share = (width / 2.0 + 0.5 - distance).clamp(0.0, 1.0);
            if share > 0.0 {
                visit(x as usize, y as usize, share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(label: &str, points: &[(f64, f64)]) -> Series {
        Series { label: label.into(), points: points.to_vec() }
    }

    fn count(picture: &RgbImage, rgb: [u8; 3]) -> usize {
        picture.data().chunks(3).filter(|p| *p == rgb).count()
    }

    #[test]
    fn a_rising_line_goes_from_lower_left_to_upper_right() {
        let chart = line_chart(&[series("", &[(0.0, 0.0), (10.0, 5.0)])], &ChartOptions::default());
        assert_eq!((chart.width(), chart.height()), (960, 540));
        let of_line = |i: usize| (i % 960, i / 960);
        let blue: Vec<_> =
            chart.data().chunks(3).enumerate().filter(|(_, p)| *p == COLOURS[0]).map(|(i, _)| of_line(i)).collect();
        let leftmost = blue.iter().min().unwrap();
        let rightmost = blue.iter().max().unwrap();
        assert!(leftmost.0 < 120 && leftmost.1 > 400, "{leftmost:?}");
        assert!(rightmost.0 > 900 && rightmost.1 < 80, "{rightmost:?}");
    }

    #[test]
    fn gaps_are_left_and_lone_points_are_dots() {
        let with_gap = [(0.0, 1.0), (1.0, 1.0), (2.0, f64::NAN), (9.0, 1.0), (10.0, 1.0)];
        let whole: Vec<_> = with_gap.iter().map(|&(x, _)| (x, 1.0)).collect();
        let options = ChartOptions { width: 400, height: 200, ..ChartOptions::default() };
        let bluish = |picture: &RgbImage| picture.data().chunks(3).filter(|p| p[2] > p[0].saturating_add(40)).count();
        let drawn = |points: &[(f64, f64)]| bluish(&line_chart(&[series("", points)], &options));
        assert!(drawn(&with_gap) * 3 < drawn(&whole));
        assert!((1..20).contains(&drawn(&[(3.0, 3.0)])));
        assert_eq!(drawn(&[(0.0, f64::INFINITY)]), 0);
    }

    #[test]
    fn a_log_axis_makes_a_power_law_straight() {
        let points: Vec<_> = (0..=100).map(|i| (f64::from(i), 10f64.powf(-f64::from(i) / 25.0))).collect();
        let options = ChartOptions { log_y: true, ..ChartOptions::default() };
        let straight = [points[0], points[100]];
        let (curve, line) =
            (line_chart(&[series("a", &points)], &options), line_chart(&[series("a", &straight)], &options));
        assert!(crate::mse(&curve, &line).unwrap() < 1.0);
        assert_eq!(count(&line_chart(&[series("", &[(0.0, 0.0), (1.0, -2.0)])], &options), COLOURS[0]), 0);
    }

    #[test]
    fn odd_input_is_drawn_all_the_same() {
        let odd = [
            series(&"long label ".repeat(50), &[(f64::MAX, f64::MIN), (-1e300, 1e300), (1e300, -1e300)]),
            series("\u{1F419}", &[(1.0, 5e-324), (f64::NEG_INFINITY, 2.0)]),
        ];
        for (width, height) in [(0, 0), (200, 8), (300, 300)] {
            for log_y in [false, true] {
                let title = "title ".repeat(100);
                let options = ChartOptions { title, x_label: "x".into(), width, height, log_y };
                assert!(line_chart(&odd, &options).width() >= 200);
                assert!(line_chart(&[], &options).height() >= 150);
            }
        }
    }
}
