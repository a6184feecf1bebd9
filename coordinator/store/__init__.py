"""The only place that knows SQL: values in, values out, one transaction a batch."""
