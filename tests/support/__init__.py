"""What the tests of several folders use. No test stands here, and no test imports another test."""
