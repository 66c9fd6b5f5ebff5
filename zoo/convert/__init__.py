"""SDR video and photographs to HDR files."""
