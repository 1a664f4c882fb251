"""The weekly schedule of a config, in the language of what runs it: Kubernetes, systemd, cron, Airflow."""
