"""Publishing stores on the Hugging Face Hub: plan, Parquet view, index, cards, upload. No simulator."""
