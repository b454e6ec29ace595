"""The kubectl plugin: what people see and decide; everything it shows comes from objects."""
