"""What a run says when it starts and when it ends."""
