"""From files to tensors: records, readers of public layouts, splits by patient, preprocessing."""
