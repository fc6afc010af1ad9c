"""JSON: `strict` reads what comes from outside, `codec` writes and reads what is stored, `typed` adds Python types."""
