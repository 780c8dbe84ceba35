"""The pictures of a study, made of what `study.json` and its runs hold."""
