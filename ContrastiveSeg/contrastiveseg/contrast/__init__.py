"""What contrastive methods share: losses, heads, views, positions."""
