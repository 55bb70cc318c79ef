"""Pure arithmetic from costs and a machine to time: no numpy, no torch."""
