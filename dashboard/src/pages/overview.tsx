import { Head } from "../ui/states";
import { t } from "../i18n";
export default function Overview() { return <Head title={t("nav.overview")} />; }
