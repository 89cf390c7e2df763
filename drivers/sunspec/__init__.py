"""SunSpec devices: model discovery, mapping to quantities, and the drivers that read them."""
