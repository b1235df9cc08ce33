//! How does a scrape look? Families of named rows, rendered in Prometheus' text format 0.0.4.

#![expect(clippy::cast_precision_loss, reason = "the format knows only doubles; exact up to 2^53")]

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::super::cells::Distribution;

/// The `content-type` of a scrape.
pub(super) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Names and values of a row's labels, in the order in which they are printed.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Families in the order of their addition. A family without rows is left out: the format has no empty ones.
#[derive(Default)]
pub(super) struct Scrape {
    families: Vec<MetricFamily>,
}

impl Scrape {
    /// A family of counters; `rows` calls back once a series.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        rows: impl FnOnce(&mut dyn FnMut(Labels, u64)),
    ) {
        self.family(name, help, MetricType::COUNTER, |out| {
            rows(&mut |labels, value| {
                let mut counter = Counter::default();
                counter.set_value(value as f64);
                let mut metric = Metric::from_label(pairs(labels));
                metric.set_counter(counter);
                out.push(metric);
            });
        });
    }

    /// A family of gauges; `rows` calls back once a series.
    pub(super) fn gauges(&mut self, name: &str, help: &str, rows: impl FnOnce(&mut dyn FnMut(Labels, i64))) {
        self.family(name, help, MetricType::GAUGE, |out| {
            rows(&mut |labels, value| {
                let mut gauge = Gauge::default();
                gauge.set_value(value as f64);
                let mut metric = Metric::from_label(pairs(labels));
                metric.set_gauge(gauge);
                out.push(metric);
            });
        });
    }

    /// A family of histograms; `rows` calls back once a label set.
    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        rows: impl FnOnce(&mut dyn FnMut(Labels, Distribution)),
    ) {
        self.family(name, help, MetricType::HISTOGRAM, |out| {
            rows(&mut |labels, found| {
                let mut metric = Metric::from_label(pairs(labels));
                metric.set_histogram(histogram(&found));
                out.push(metric);
            });
        });
    }

    /// Families that come ready from `prometheus`.
    pub(super) fn ready(&mut self, families: Vec<MetricFamily>) {
        self.families.extend(families);
    }

    /// The text. The encoder refuses only families without a name or a row, which [`Self::family`] never adds.
    pub(super) fn into_text(self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.families, &mut text) {
            tracing::error!(%error, "the scrape is incomplete");
        }
        text
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, rows: impl FnOnce(&mut Vec<Metric>)) {
        let mut family = MetricFamily::default();
        rows(family.mut_metric());
        if family.get_metric().is_empty() {
            return;
        }
        family.set_name(format!("outrigger_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        self.families.push(family);
    }
}

fn pairs(labels: Labels) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

fn histogram(found: &Distribution) -> Histogram {
    let bucket = |(bound, count): &(f64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(found.buckets.iter().map(bucket).collect());
    histogram.set_sample_count(found.count);
    histogram.set_sample_sum(found.sum);
    histogram
}
