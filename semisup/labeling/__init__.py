"""What to label next: the unlabeled pictures whose labels teach most, and the page that they are labeled on."""
